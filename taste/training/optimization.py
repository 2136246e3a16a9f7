"""The optimizer: which parts of a model train, at which learning rates, along which schedule."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import nn

from taste.config import TrainConfig
from taste.errors import RecipeError

PARTS = ("lm", "speech")  # of the joint model; not every system has all


def is_in(name: str, part: str) -> bool:
    """Whether a parameter belongs to a part: `lm.llm` is one of `lm.llm.after_norm.weight`, not of `lm.llm_decoder`."""
    return f"{name}.".startswith(f"{part}.")


def learning_rate_of(name: str, learning_rates: Mapping[str, float]) -> float | None:
    """The peak learning rate of a parameter: that of the longest part its name begins with; None: it stays fixed."""
    parts = [part for part in learning_rates if is_in(name, part)]
    return learning_rates[max(parts, key=len)] if parts else None


def make_optimizer(model: nn.Module, settings: TrainConfig) -> torch.optim.Optimizer:
    """AdamW on the parts that train; no decay on vectors and embeddings. The other parameters are frozen.

    Raises:
        RecipeError: a part of `learning_rates` or of `frozen` is no part of the model, or nothing is left to train.
    """
    names = [name for name, _ in model.named_parameters()]
    for setting in ("learning_rates", "frozen"):
        for part in vars(settings)[setting]:
            if part not in PARTS and not any(is_in(name, part) for name in names):
                raise RecipeError(
                    f"{setting}: no parameter's name begins with {part!r}; the first are {', '.join(names[:3])}"
                )
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        is_frozen = any(is_in(name, part) for part in settings.frozen)
        rate = None if is_frozen else learning_rate_of(name, settings.learning_rates)
        parameter.requires_grad_(rate is not None)
        if rate is not None:
            decays = parameter.ndim > 1 and "embedding" not in name
            groups.setdefault((rate, settings.weight_decay if decays else 0.0), []).append(parameter)
    if not groups:
        raise RecipeError(f"learning_rates names none of this system's parts: {', '.join(settings.learning_rates)}")
    return torch.optim.AdamW(
        [
            {"params": group, "lr": rate, "peak_lr": rate, "weight_decay": decay}
            for (rate, decay), group in groups.items()
        ],
        betas=(0.9, 0.98),
        fused=True,
    )


def learning_rate_factor(settings: TrainConfig, step: int, steps: int) -> float:
    """The learning rate of update `step` (from 0) of `steps`, as a fraction of its peak.

    Linear warm-up, then half a cosine down to `final_learning_rate` at the last update.
    """
    if step < settings.warmup_steps:
        return (step + 1) / settings.warmup_steps
    done = min(1.0, (step - settings.warmup_steps) / max(1, steps - settings.warmup_steps))
    return settings.final_learning_rate + (1 - settings.final_learning_rate) * (1 + math.cos(math.pi * done)) / 2


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> float:
    """Set every part's learning rate to `factor` of its peak; returns the highest."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor
    return max(group["lr"] for group in optimizer.param_groups)
