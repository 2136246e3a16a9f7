"""Hidden layers of Whisper's encoder for utterances at their true length."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
import whisper.audio
from torch import Tensor, nn
from whisper.model import AudioEncoder, ResidualAttentionBlock, Whisper

from taste.audio import read_speech
from taste.errors import RecipeError, Skipped, UtteranceError
from taste.fixed_linear import FixedLinear

LAST = "last"
FRAMES_PER_SECOND = 50
SAMPLES_PER_MEL = whisper.audio.HOP_LENGTH  # 160: 10 ms
MIN_SAMPLES = 2 * SAMPLES_PER_MEL  # one frame of the encoder: 20 ms
WINDOW_SAMPLES = whisper.audio.N_SAMPLES  # 30 s

T = TypeVar("T")


def frames_of(samples: int) -> int:
    """Frames that Whisper's encoder gives for `samples` samples at 16 kHz: half of the whole 10 ms steps, rounded up.

    That is what its log-mel (one frame every whole 160 samples) and its second convolution (stride 2) make of audio
    that is not padded to 30 s; 50 a second.
    """
    return (samples // SAMPLES_PER_MEL + 1) // 2


def check_layers(layers: list[str], n_layers: int) -> list[str]:
    """Return `layers` if an encoder of `n_layers` blocks has them: "0" (after the convolutions and positions), "1" to
    "N" (the output of that block, before the final LayerNorm) and "last" (after it).

    Raises:
        RecipeError: there is no such layer, none is asked for, or one twice.
    """
    known = [str(layer) for layer in range(n_layers + 1)] + [LAST]
    unknown = [layer for layer in layers if layer not in known]
    if unknown or not layers or len(set(layers)) < len(layers):
        raise RecipeError(f'--layers "{" ".join(layers)}": this Whisper model has {", ".join(known)}, each once')
    return layers


@torch.inference_mode()
def encode(
    model: Whisper,
    samples: list[np.ndarray],
    layers: list[str],
    pad_to_30s: bool = False,
    dtype: torch.dtype = torch.float32,
) -> list[dict[str, np.ndarray]]:
    """Layers of Whisper's encoder (openai-whisper `whisper/model.py`, `AudioEncoder`) for a batch of utterances.

    The utterances' frames stand one after another in one sequence; only attention and convolutions, which would mix
    them, run utterance by utterance. So there is no padding to compute or to mask, and what an utterance gives does
    not depend on the others of its batch.

    Args:
        model: from `load_whisper`, on any device.
        samples: each (samples,), float32 in [-1, 1], 16 kHz, 20 ms to 30 s.
        layers: as in `check_layers`.
        pad_to_30s: append silence up to 30 s first, as Whisper was trained; the frames of it are cut off again.
        dtype: type of the matrix products; the residual stream stays float32.

    Returns:
        For each utterance: layer -> (frames_of(samples), dim) float32.

    Raises:
        RecipeError: there is no such layer.
        UtteranceError: audio shorter than one frame or longer than 30 s.
    """
    check_layers(layers, len(model.encoder.blocks))
    frames = [frames_of(check_length(utterance)) for utterance in samples]
    embedded = [_embed(model.encoder, _log_mel(model, utterance, pad_to_30s), dtype) for utterance in samples]
    lengths = [len(x) for x in embedded]
    hidden = _layers(model.encoder, torch.cat(embedded), lengths, layers, dtype)
    pieces = {layer: x.cpu().split(lengths) for layer, x in hidden.items()}
    return [
        {layer: pieces[layer][index][:length].numpy().copy() for layer in layers} for index, length in enumerate(frames)
    ]


def check_length(samples: np.ndarray) -> int:
    """Return the number of samples.

    Raises:
        UtteranceError: the audio is shorter than one frame of the encoder, or longer than its window.
    """
    if not MIN_SAMPLES <= len(samples) <= WINDOW_SAMPLES:
        seconds = len(samples) / whisper.audio.SAMPLE_RATE
        raise UtteranceError(f"audio of {seconds:.3f} s; Whisper's encoder takes 0.02 s to 30 s")
    return len(samples)


def read_usable(
    sources: Iterable[tuple[str, str]], allow_pipes: bool, skipped: Skipped
) -> Iterator[tuple[str, np.ndarray]]:
    """Read the audio of `wav.scp` entries.

    Yields:
        (utt, samples) of those the encoder can take: 16 kHz, one channel, 0.02 s to 30 s; the others go to `skipped`.
    """
    for utt, source in sources:
        try:
            samples = read_speech(source, allow_pipes)
            check_length(samples)
        except UtteranceError as error:
            skipped.add(utt, error)
            continue
        yield utt, samples


def _log_mel(model: Whisper, samples: np.ndarray, pad_to_30s: bool) -> Tensor:
    """(samples,) -> (mels, samples // 160); its dynamic range hangs on the utterance's own maximum."""
    audio = torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float32)).to(model.device)
    padding = WINDOW_SAMPLES - len(samples) if pad_to_30s else 0
    return whisper.audio.log_mel_spectrogram(audio, model.dims.n_mels, padding)


def _embed(encoder: AudioEncoder, mel: Tensor, dtype: torch.dtype) -> Tensor:
    """Layer 0: (mels, steps) -> (frames, dim) float32."""
    x = mel[None].to(dtype)
    for conv in (encoder.conv1, encoder.conv2):
        x = F.gelu(F.conv1d(x, conv.weight.to(dtype), conv.bias.to(dtype), conv.stride, conv.padding))
    return x[0].T + encoder.positional_embedding[: x.shape[-1]]


def _layers(
    encoder: AudioEncoder, x: Tensor, lengths: list[int], layers: list[str], dtype: torch.dtype
) -> dict[str, Tensor]:
    """Run the blocks up to the deepest of `layers`; x and each output: (sum of lengths, dim) float32."""
    depth = len(encoder.blocks) if LAST in layers else max(map(int, layers))
    hidden = {"0": x}
    for index, block in enumerate(encoder.blocks[:depth], start=1):
        x = _block(block, x, lengths, dtype)
        hidden[str(index)] = x
    if LAST in layers:
        hidden[LAST] = encoder.ln_post(x)
    return {layer: hidden[layer] for layer in layers}


def _block(block: ResidualAttentionBlock, x: Tensor, lengths: list[int], dtype: torch.dtype) -> Tensor:
    attn, (expand, gelu, contract) = block.attn, block.mlp
    normalized = block.attn_ln(x).to(dtype)
    projections = [_linear(layer, normalized) for layer in (attn.query, attn.key, attn.value)]
    heads = [p.unflatten(-1, (attn.n_head, -1)).transpose(0, 1).split(lengths, dim=1) for p in projections]
    attended = [_attention(*qkv).transpose(0, 1).flatten(1) for qkv in zip(*heads, strict=True)]
    x = x + _linear(attn.out, torch.cat(attended))
    return x + _linear(contract, gelu(_linear(expand, block.mlp_ln(x).to(dtype))))


def _linear(layer: nn.Linear, x: Tensor) -> Tensor:
    """The layer in the type of x."""
    return FixedLinear.of(layer, x.dtype)(x)


def _attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention of one utterance; each (heads, frames, dim of a head)."""
    if query.is_cuda or query.dtype == torch.float32:
        return F.scaled_dot_product_attention(query[None], key[None], value[None])[0]
    # torch's own multiplies small blocks; on a CPU bfloat16 products of whole matrices are more than twice as fast
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(1, 2)
    return scores.softmax(dim=-1) @ value


def batches(items: Iterable[T], size: Callable[[T], float], limit: float) -> Iterator[list[T]]:
    """Group `items`, in their order, into batches whose sizes add up to at most `limit`; each holds at least one."""
    batch: list[T] = []
    total = 0.0
    for item in items:
        if batch and total + size(item) > limit:
            yield batch
            batch, total = [], 0.0
        batch.append(item)
        total += size(item)
    if batch:
        yield batch
