"""Dropout whose random numbers cost little on a CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

BITS = 16  # of a random number: one draw gives four
INTEGER = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # as wide as a number of so many bytes


class Dropout(nn.Dropout):
    """As `nn.Dropout`. On a CPU it takes 16 random bits for an element, so `p` is met to 1 in 65,536.

    torch draws a number for each element there, which takes longer than all else that is done with it. What is dropped
    is set to zero bit by bit: a product with the mask would have to bring it into the elements' type first.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same shape."""
        if self._is_ours(x):
            return _Dropout.apply(x, self.p)
        return F.dropout(x, self.p, self.training)

    def after_relu(self, x: Tensor) -> Tensor:
        """Dropout of `relu(x)`; of both the backward pass needs nothing but their output."""
        if self._is_ours(x):
            return _ReLUDropout.apply(x, self.p)
        return F.dropout(F.relu(x), self.p, self.training)

    def _is_ours(self, x: Tensor) -> bool:
        return bool(self.training and self.p and x.device.type == "cpu")


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        is_kept = _draw(x, p)
        ctx.save_for_backward(is_kept)
        ctx.scale = 1 / (1 - p)
        return _kept(x, is_kept).mul_(ctx.scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (is_kept,) = ctx.saved_tensors
        return _kept(gradient, is_kept).mul_(ctx.scale), None


class _ReLUDropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        ctx.scale = 1 / (1 - p)
        y = _kept(F.relu(x), _draw(x, p)).mul_(ctx.scale)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (y,) = ctx.saved_tensors
        is_positive = y.view(INTEGER[y.element_size()]) > 0  # the bits tell it in a third of the time
        return _kept(gradient, is_positive).mul_(ctx.scale), None


def _draw(x: Tensor, p: float) -> Tensor:
    """Which elements of x are kept, as a mask."""
    draws = np.random.SFC64(torch.randint(2**63 - 1, ()).item()).random_raw(-(-x.numel() // (64 // BITS)))
    number = torch.from_numpy(draws.view(np.int16))[: x.numel()].view(x.shape)
    return number >= round(p * 2**BITS) - 2 ** (BITS - 1)


def _kept(x: Tensor, is_kept: Tensor) -> Tensor:
    """x where it is kept, else zero."""
    integer = INTEGER[x.element_size()]
    return is_kept.to(integer).neg_().bitwise_and_(x.contiguous().view(integer)).view(x.dtype)
