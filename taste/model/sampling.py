"""How the next unit is chosen from the LM's logits."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from taste.errors import RecipeError

KINDS = ("greedy", "top_k", "top_p", "ras")


@dataclass(frozen=True)
class Sampling:
    """One of four ways to choose a unit; the defaults are CosyVoice-300M's.

    `greedy` takes the likeliest unit; `top_k` draws among the `top_k` likeliest; `top_p` among the fewest likeliest
    that together have the probability `top_p`; `ras` among those that are in both sets, and where the unit drawn makes
    up `repetition` or more of the last `window` units, it draws once more, from all units but that one.

    Source: VALL-E 2 (Chen et al. 2024, section 3.3.2) as upstream has it: `ras_sampling` of `cosyvoice/utils/common.py`
    (`win_size` is our `window`, `tau_r` our `repetition`).

    Raises:
        RecipeError: a setting is out of its range.
    """

    kind: str = "ras"
    top_k: int = 25
    top_p: float = 0.8
    window: int = 10  # units
    repetition: float = 0.1  # of the window

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise RecipeError(f"sampling {self.kind!r}: choose one of {', '.join(KINDS)}")
        for name in ("top_k", "window"):
            if getattr(self, name) < 1:
                raise RecipeError(f"sampling: {name} is {getattr(self, name)}; it has to be at least 1")
        for name in ("top_p", "repetition"):
            if not 0 < getattr(self, name) <= 1:
                raise RecipeError(f"sampling: {name} is {getattr(self, name)}; it has to be above 0 and at most 1")

    def choose(self, logits: Tensor, recent: Tensor, uniform: Tensor) -> Tensor:
        """Choose a unit for each utterance.

        Args:
            logits: (batch, classes); -inf forbids a class.
            recent: (batch, n), the last units of each utterance, at most `window`.
            uniform: (batch, 2), random numbers in [0, 1) from `uniform_numbers`, all that chance decides by.

        Returns:
            (batch,), class numbers.
        """
        if self.kind == "greedy":
            return logits.argmax(-1)
        logits = logits.double()  # thousands of probabilities are summed up
        unit = _draw(self._likely(logits.softmax(-1)), uniform[:, 0])
        if self.kind != "ras":
            return unit
        repeated = (recent == unit[:, None]).sum(1) >= self.window * self.repetition
        others = logits.scatter(1, unit[:, None], -torch.inf).softmax(-1)
        return torch.where(repeated, _draw(others, uniform[:, 1]), unit)

    def _likely(self, probability: Tensor) -> Tensor:
        """Set to zero what is not drawn from: (batch, classes) -> (batch, classes)."""
        classes = probability.shape[-1]
        likeliest, index = probability.topk(classes if self.kind == "top_p" else min(self.top_k, classes))
        if self.kind != "top_k":
            likelier = likeliest.cumsum(-1) - likeliest
            likeliest = likeliest.masked_fill(likelier >= self.top_p, 0)
        return torch.zeros_like(probability).scatter(1, index, likeliest)


def _draw(weight: Tensor, uniform: Tensor) -> Tensor:
    """Draw a class by weights: (batch, classes) and (batch,) -> (batch,).

    The classes keep their order, not that of their weights, so that two of nearly equal weight, which rounding may
    order either way, do not change places.
    """
    cumulative = weight.cumsum(-1)
    return torch.searchsorted(cumulative, uniform[:, None] * cumulative[:, -1:], right=True)[:, 0]


def uniform_numbers(seed: int, utts: Sequence[str], steps: Sequence[int]) -> Tensor:
    """Random numbers that depend on the seed and the utterance alone, not on its batch or the device.

    Args:
        utts: utterance ids.
        steps: how many steps each utterance takes at most.

    Returns:
        (longest, batch, 2), float32 in [0, 1), on the CPU; zero after an utterance's steps.
    """
    rows = []
    for utt, size in zip(utts, steps, strict=True):
        digest = hashlib.sha256(f"{seed} {utt}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
        rows.append(torch.rand(size, 2, generator=generator))
    return pad_sequence(rows)
