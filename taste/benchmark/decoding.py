"""Autoregressive decoding: all utterances at once, beside upstream's `TransformerLM.inference`, one after the other.

Both sides have the same weights, text, voices and sampling, and as many units to decode.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from unittest.mock import patch

import torch
from torch import Tensor

from taste.benchmark.models import random_lm, upstream_lm
from taste.config import ModelConfig
from taste.model import decoding as model_decoding
from taste.model.decoding import Limits, decode
from taste.model.sampling import Sampling
from taste.precision import autocast, compute_dtype

SECONDS = (4, 8, 12, 16)  # of speech, one utterance after the other
TOKENS_PER_SECOND = 3.5  # of text, as LibriSpeech has in Whisper's tokens
UNITS_PER_TOKEN = 14.3  # so that there are 50 a second


def ours(
    config: ModelConfig, batch: int, seconds: Sequence[float] = SECONDS, dtype: str = "auto", device: str = "cpu",
    by_graphs: bool = True,
) -> Callable[[], float]:  # fmt: skip
    """Decoding as the recipe does it, `batch` utterances at once.

    Args:
        config: sizes of the LM.
        batch: how many utterances.
        seconds: their lengths, from the first again where there are more.
        dtype: `auto`, `float32` or `bfloat16`, see `taste.precision.compute_dtype`.
        by_graphs: whether a GPU repeats steps as CUDA graphs.

    Returns:
        A function that decodes them and returns `floating_point_operations` of them all.
    """
    where = torch.device(device)
    lm = random_lm(config).to(where).eval()
    texts, voices = _inputs(config, batch, seconds, where)
    text = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True)
    text_length = torch.tensor(list(map(len, texts)), device=where)
    utts = [f"utt{i}" for i in range(batch)]
    limits = Limits(UNITS_PER_TOKEN, UNITS_PER_TOKEN)
    compute = compute_dtype(dtype, where)
    steps = model_decoding.advance_by_graphs if by_graphs else model_decoding.advance

    @torch.no_grad()
    def run() -> float:
        with autocast(where, compute), patch.object(model_decoding, "advance_by_graphs", steps):
            decoded = decode(lm, utts, lm.encode_text(text), text_length, voices, Sampling(), limits, seed=0)
        return _operations(config, texts, decoded.unit_length.tolist())

    return run


def upstream(
    config: ModelConfig, batch: int, seconds: Sequence[float] = SECONDS, dtype: str = "float32", device: str = "cpu"
) -> Callable[[], float]:
    """Upstream's decoding of the same utterances; arguments and result as of `ours`.

    Raises:
        RecipeError: the `cosyvoice` package, or one that it needs, is not installed.
    """
    where = torch.device(device)
    lm = upstream_lm(config, random_lm(config).state_dict()).to(where).eval()
    texts, voices = _inputs(config, batch, seconds, where)

    def decode_one(text: Tensor, voice: Tensor) -> int:
        lengths = torch.tensor([[len(text)], [0], [0]], dtype=torch.int32, device=where)  # of the text, of no prompt
        none = torch.zeros(1, 0, dtype=torch.long, device=where)
        units = lm.inference(
            text[None], lengths[0], none, lengths[1], none, lengths[2], voice[None],
            max_token_text_ratio=UNITS_PER_TOKEN, min_token_text_ratio=UNITS_PER_TOKEN,
        )  # fmt: skip
        return sum(1 for _ in units)

    def run() -> float:
        with autocast(where, compute_dtype(dtype, where)):
            units = [decode_one(*each) for each in zip(texts, voices, strict=True)]
        return _operations(config, texts, units)

    return run


def floating_point_operations(config: ModelConfig, tokens: int, units: int) -> int:
    """What the matrix products of decoding one utterance need, a multiplication and an addition being two operations.

    Distances are projected once: upstream, which projects all of them again for every unit, does more.

    Args:
        tokens: of the text.
        units: that are decoded, each but the last being read again.
    """
    dim = config.dim
    block = 4 * dim**2 + 2 * dim * config.linear_units
    read = tokens + 3 + units - 1  # sos, voice, text, task, units
    text = tokens * (config.text_encoder_input_size * dim + dim**2)
    text += config.text_encoder_blocks * _attending(tokens, dim, block)
    lm = read * dim**2 + config.llm_blocks * _attending(read, dim, block) + units * dim * (config.speech_token_size + 1)
    return 2 * (text + lm + config.spk_embed_dim * dim)


def _attending(size: int, dim: int, block: int) -> int:
    """Multiplications of one block that reads `size` positions: keys, distances and values are met once by a pair."""
    pairs = size * (size + 1) // 2
    return size * (block + dim**2) + 3 * pairs * dim


def _operations(config: ModelConfig, texts: Sequence[Tensor], units: Sequence[int]) -> float:
    return sum(floating_point_operations(config, len(text), n) for text, n in zip(texts, units, strict=True))


def _inputs(
    config: ModelConfig, batch: int, seconds: Sequence[float], device: torch.device
) -> tuple[list[Tensor], Tensor]:
    """Text ids of each utterance, and voices (batch, spk_embed_dim)."""
    generator = torch.Generator().manual_seed(0)
    sizes = [round(TOKENS_PER_SECOND * seconds[i % len(seconds)]) for i in range(batch)]
    texts = [torch.randint(config.text_token_size, (size,), generator=generator) for size in sizes]
    voices = torch.randn(batch, config.spk_embed_dim, generator=generator)
    return [text.to(device) for text in texts], voices.to(device)
