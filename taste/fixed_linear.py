"""Linear layers of models that are not trained any more, through oneDNN on a CPU."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FixedLinear:
    """A linear layer whose weights do not change any more.

    On a CPU they are brought into oneDNN's own layout, in which a product with a few rows takes half of the time of
    `F.linear`; `torch.compile` with frozen weights does the same, after a minute of compiling. With many rows there is
    a gain, too, where torch takes MKL for float32, which leaves half of an AMD processor unused.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> None:
        """Take weight (out, in) and, where there is one, bias (out,); products are computed in `dtype`."""
        self.weight, self.bias = weight.to(dtype), None if bias is None else bias.to(dtype)
        self.is_laid_out = weight.device.type == "cpu" and torch.backends.mkldnn.is_available()
        if self.is_laid_out:
            self.weight = torch.ops.mkldnn._reorder_linear_weight(self.weight)

    def __call__(self, x: Tensor) -> Tensor:
        """(…, in) -> (…, out)."""
        x = x.to(self.weight.dtype)
        if self.is_laid_out:
            return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")
        return F.linear(x, self.weight, self.bias)

    @classmethod
    def of(cls, linear: nn.Linear, dtype: torch.dtype) -> FixedLinear:
        """The layer `linear`, as its weights are now."""
        return cls(linear.weight, linear.bias, dtype)
