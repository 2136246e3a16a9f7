"""Dropout whose random numbers cost little on a CPU."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

BITS = 16  # of a random number: one draw gives four


class Dropout(nn.Dropout):
    """As `nn.Dropout`. On a CPU it takes 16 random bits for an element, so `p` is met to 1 in 65,536.

    torch draws a number for each element there, which takes longer than all else that is done with it.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same shape."""
        if self.training and self.p and x.device.type == "cpu":
            return _Dropout.apply(x, self.p)
        return F.dropout(x, self.p, self.training)


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        per_draw = 64 // BITS
        draws = torch.empty(-(-x.numel() // per_draw), dtype=torch.int64).random_(-(2**63), None)
        number = draws.view(torch.int16)[: x.numel()].view(x.shape)
        is_kept = number >= round(p * 2**BITS) - 2 ** (BITS - 1)
        ctx.save_for_backward(is_kept)
        ctx.scale = 1 / (1 - p)
        return x * is_kept.to(x.dtype).mul_(ctx.scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (is_kept,) = ctx.saved_tensors
        return gradient * is_kept.to(gradient.dtype).mul_(ctx.scale), None
