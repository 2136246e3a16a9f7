"""Sequences of a batch, padded and without padding, with gradients of no more than their own size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def padded(sequences: Sequence[Tensor]) -> Tensor:
    """Put (length, dim) sequences into one tensor (batch, longest, dim), zero after their ends.

    `torch.nn.utils.rnn.pad_sequence` does the same, but its backward pass copies the whole tensor for each sequence.
    """
    size = max(map(len, sequences))
    return torch.stack([F.pad(sequence, (0, 0, 0, size - len(sequence))) for sequence in sequences])


def unpadded(x: Tensor, length: Tensor) -> list[Tensor]:
    """The real rows of each sequence, (length, dim), of (batch, size, dim) and lengths (batch,).

    The gradient of `x[i, :n]` is a tensor of the size of x for each sequence; that of `unbind` is one for all.
    """
    return [sequence[:n] for sequence, n in zip(x.unbind(), length.tolist(), strict=True)]
