"""Attention of text over frames of speech, forward and backward: the aggregator's and PyTorch's own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from taste.model.aggregator import CrossAttention
from taste.model.transformer import length_mask
from taste.precision import autocast, compute_dtype

UTTERANCES, TEXT, FRAMES = 8, 40, 540  # as the step of the LM has, 10.8 s each
DIM, HEADS = 512, 8  # of Whisper base


def ours() -> Callable[[], float]:
    """`taste.model.aggregator.CrossAttention`."""
    attention = CrossAttention(DIM, HEADS, DIM)
    return _step(attention, lambda text, speech, is_real: attention(text, speech, [speech], is_real)[0])


def pytorch() -> Callable[[], float]:
    """`nn.MultiheadAttention` after the same norm; it, too, gives the weights of each head."""
    norm, attention = nn.LayerNorm(DIM), nn.MultiheadAttention(DIM, HEADS, batch_first=True)

    def attend(text: Tensor, speech: Tensor, is_real: Tensor) -> Tensor:
        return attention(norm(text), speech, speech, ~is_real, average_attn_weights=False)[0]

    return _step(attention, attend)


def _step(model: nn.Module, attend: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[[], float]:
    device = torch.device("cpu")
    text = torch.randn(UTTERANCES, TEXT, DIM, requires_grad=True)
    speech = torch.randn(UTTERANCES, FRAMES, DIM)
    is_real = length_mask(torch.linspace(FRAMES / 2, FRAMES, UTTERANCES).long(), FRAMES)

    def work() -> float:
        with autocast(device, compute_dtype("auto", device)):
            found = attend(text, speech, is_real)
        found.float().square().mean().backward()
        model.zero_grad()
        return 0.0

    return work
