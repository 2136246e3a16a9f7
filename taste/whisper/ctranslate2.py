"""Whisper in CTranslate2's binary format, as faster-whisper has it, turned into openai-whisper's state dict.

Source of the format: CTranslate2 `python/ctranslate2/specs/model_spec.py` (binary version 6).
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from taste.errors import RecipeError

BINARY_VERSION = 6
DTYPES = {0: "<f4", 1: "<i1", 2: "<i2", 3: "<i4", 4: "<f2"}
MAX_RANK = 4

_BLOCK_NAMES = {
    "attn_ln": "self_attention/layer_norm",
    "attn.out": "self_attention/linear_1",
    "mlp_ln": "ffn/layer_norm",
    "mlp.0": "ffn/linear_0",
    "mlp.2": "ffn/linear_1",
}
_CROSS_ATTENTION_NAMES = {
    "cross_attn_ln": "attention/layer_norm",
    "cross_attn.query": "attention/linear_0",
    "cross_attn.out": "attention/linear_2",
}


def read_variables(path: Path) -> dict[str, np.ndarray]:
    """Read the variables of a CTranslate2 `model.bin`.

    Returns:
        Variable name -> array of the stored type and shape; scalars have shape ().

    Raises:
        RecipeError: the file is of another version, of another model than Whisper, or cut short.
    """
    try:
        with open(path, "rb") as stream:
            version, spec, _revision = _number(stream, "I"), _string(stream), _number(stream, "I")
            if version != BINARY_VERSION or spec != "WhisperSpec":
                raise RecipeError(
                    f"{path} is a CTranslate2 file of version {version} and type {spec}; "
                    f"version {BINARY_VERSION} of WhisperSpec is needed"
                )
            return dict(_variable(stream) for _ in range(_number(stream, "I")))
    except (struct.error, UnicodeDecodeError, ValueError, KeyError) as error:
        raise RecipeError(f"{path} is no CTranslate2 model or is cut short ({error}); fetch it again") from error


def _number(stream: BinaryIO, kind: str) -> int:
    return struct.unpack("<" + kind, stream.read(struct.calcsize("<" + kind)))[0]


def _string(stream: BinaryIO) -> str:
    return stream.read(_number(stream, "H")).rstrip(b"\0").decode("utf-8")


def _variable(stream: BinaryIO) -> tuple[str, np.ndarray]:
    name, rank = _string(stream), _number(stream, "B")
    if rank > MAX_RANK:
        raise ValueError(f"variable of rank {rank}")
    shape = [_number(stream, "I") for _ in range(rank)]
    dtype = np.dtype(DTYPES[_number(stream, "B")])
    values = np.frombuffer(stream.read(_number(stream, "I")), dtype)
    return name, values.reshape(shape)


def whisper_state(variables: dict[str, np.ndarray]) -> tuple[dict[str, int], dict[str, torch.Tensor]]:
    """Turn CTranslate2's variables into openai-whisper's dimensions and state dict.

    The projections of query, key and value are fused in CTranslate2's `linear_0` (key and value in `linear_1` where
    the decoder attends to the encoder); openai-whisper keeps them apart and gives the key no bias, which therefore
    must be zero.

    Returns:
        Keyword arguments of `whisper.model.ModelDimensions`; and name -> tensor of the stored floating-point type.

    Raises:
        RecipeError: a variable is missing, quantized to integers, or has a bias that openai-whisper has no place for.
    """
    try:
        conv, text_positions = variables["encoder/conv1/weight"], variables["decoder/position_encodings/encodings"]
        embedding = variables["decoder/embeddings/weight"]
        dims = {
            "n_mels": conv.shape[1],
            "n_audio_ctx": len(variables["encoder/position_encodings/encodings"]),
            "n_audio_state": conv.shape[0],
            "n_audio_head": int(variables["encoder/num_heads"]),
            "n_audio_layer": _layers(variables, "encoder"),
            "n_vocab": embedding.shape[0],
            "n_text_ctx": text_positions.shape[0],
            "n_text_state": embedding.shape[1],
            "n_text_head": int(variables["decoder/num_heads"]),
            "n_text_layer": _layers(variables, "decoder"),
        }
        arrays = _stem(variables)
        for stack, count in (("encoder", dims["n_audio_layer"]), ("decoder", dims["n_text_layer"])):
            for index in range(count):
                arrays |= _block(variables, f"{stack}/layer_{index}/", f"{stack}.blocks.{index}.", stack == "decoder")
    except KeyError as error:
        raise RecipeError(f"the CTranslate2 model lacks the variable {error}") from error
    integers = [name for name, array in arrays.items() if array.dtype.kind != "f"]
    if integers:
        raise RecipeError(
            f"the CTranslate2 model is quantized to {arrays[integers[0]].dtype} ({integers[0]}); "
            "take one converted with --quantization float16 or float32"
        )
    return dims, {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}


def _layers(variables: dict[str, np.ndarray], stack: str) -> int:
    prefix = f"{stack}/layer_"
    return len({name[len(prefix) :].partition("/")[0] for name in variables if name.startswith(prefix)} - {"norm"})


def _affine(variables: dict[str, np.ndarray], source: str, target: str) -> dict[str, np.ndarray]:
    """Weight and bias of one layer; CTranslate2 calls those of a LayerNorm gamma and beta."""
    weight, bias = ("gamma", "beta") if source.endswith("layer_norm") else ("weight", "bias")
    return {f"{target}.weight": variables[f"{source}/{weight}"], f"{target}.bias": variables[f"{source}/{bias}"]}


def _stem(variables: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {
        **_affine(variables, "encoder/conv1", "encoder.conv1"),
        **_affine(variables, "encoder/conv2", "encoder.conv2"),
        **_affine(variables, "encoder/layer_norm", "encoder.ln_post"),
        **_affine(variables, "decoder/layer_norm", "decoder.ln"),
        "encoder.positional_embedding": variables["encoder/position_encodings/encodings"],
        "decoder.positional_embedding": variables["decoder/position_encodings/encodings"],
        "decoder.token_embedding.weight": variables["decoder/embeddings/weight"],
    }


def _block(variables: dict[str, np.ndarray], source: str, target: str, cross: bool) -> dict[str, np.ndarray]:
    names = {**_BLOCK_NAMES, **(_CROSS_ATTENTION_NAMES if cross else {})}
    arrays: dict[str, np.ndarray] = {}
    for ours, theirs in names.items():
        arrays |= _affine(variables, source + theirs, target + ours)
    arrays |= _unfused(variables, f"{source}self_attention/linear_0", target + "attn.", ["query", "key", "value"])
    if cross:
        arrays |= _unfused(variables, f"{source}attention/linear_1", target + "cross_attn.", ["key", "value"])
    return arrays


def _unfused(variables: dict[str, np.ndarray], source: str, target: str, parts: list[str]) -> dict[str, np.ndarray]:
    fused = _affine(variables, source, "")
    arrays: dict[str, np.ndarray] = {}
    for name, array in fused.items():
        for part, piece in zip(parts, np.split(array, len(parts)), strict=True):
            arrays[target + part + name] = piece
    if arrays.pop(f"{target}key.bias").any():
        raise RecipeError(f"the CTranslate2 model has a key bias in {source}; openai-whisper has none")
    return arrays
