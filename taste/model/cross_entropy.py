"""Cross-entropy over thousands of units in little memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

IGNORE = -100  # target of positions that do not count, as in `F.cross_entropy`
PIECE = 2**20  # logits that are worked on at once in float32


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of each position in nats, zero where the target is `IGNORE`.

    As `F.cross_entropy(logits.float(), …, reduction="none")`, without whole copies of the logits in float32: what the
    backward pass needs is worked out from the logits again, some positions at a time.

    Args:
        logits: (n, classes).
        target: (n,), int64.

    Returns:
        (n,), float32.
    """
    return _CrossEntropy.apply(logits, target)


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor) -> Tensor:
        total = torch.cat([rows.float().logsumexp(-1) for rows in logits.split(_rows(logits))])
        counts = target != IGNORE
        chosen = target.where(counts, 0)[:, None]
        ctx.save_for_backward(logits, chosen, counts, total)
        return (total - logits.gather(1, chosen)[:, 0].float()).where(counts, 0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        logits, chosen, counts, total = ctx.saved_tensors
        gradient = gradient.where(counts, 0)[:, None]
        to_logits = torch.empty_like(logits)
        parts = (each.split(_rows(logits)) for each in (to_logits, logits, total[:, None], gradient, chosen))
        for into, rows, total_of_rows, gradient_of_rows, chosen_of_rows in zip(*parts, strict=True):
            probability = (rows.float() - total_of_rows).exp_().mul_(gradient_of_rows)
            into.copy_(probability.scatter_add_(1, chosen_of_rows, -gradient_of_rows))
        return to_logits, None


def _rows(logits: Tensor) -> int:
    """How many positions are worked on at once."""
    return max(1, PIECE // logits.shape[1])
