"""A batch's text states and units as sequences of the LM, forward and backward: the model's way and PyTorch's own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from taste.model.sequences import padded, unpadded

UTTERANCES, TEXT, UNITS, DIM = 24, 40, 500, 512  # 12,000 units, a batch of egs/librispeech


def ours() -> Callable[[], float]:
    """`taste.model.sequences`."""

    def put_together(*parts: tuple[Tensor, Tensor]) -> Tensor:
        rows = (unpadded(*part) for part in parts)
        return padded([torch.cat(each) for each in zip(*rows, strict=True)])

    return _step(put_together)


def pytorch() -> Callable[[], float]:
    """Rows taken by index, and `pad_sequence`."""

    def put_together(*parts: tuple[Tensor, Tensor]) -> Tensor:
        rows = ([x[i, : length[i]] for x, length in parts] for i in range(UTTERANCES))
        return pad_sequence([torch.cat(each) for each in rows], batch_first=True)

    return _step(put_together)


def _step(put_together: Callable[..., Tensor]) -> Callable[[], float]:
    parts = [
        (torch.randn(UTTERANCES, size, DIM, requires_grad=True), torch.linspace(0.9 * size, size, UTTERANCES).long())
        for size in (TEXT, UNITS)
    ]

    def work() -> float:
        put_together(*parts).sum().backward()
        for x, _ in parts:
            x.grad = None
        return 0.0

    return work
