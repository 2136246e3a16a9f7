"""The choice of a vocoder by its name."""

from __future__ import annotations

from pathlib import Path

import torch

from taste.errors import RecipeError
from taste.unit2wav.griffinlim import GriffinLimVocoder
from taste.unit2wav.vocoder import Vocoder

VOCODERS = ("griffinlim", "cosyvoice")


def load_vocoder(name: str, folder: Path, device: torch.device) -> Vocoder:
    """Load a vocoder of `VOCODERS`.

    Args:
        name: its name.
        folder: that `train_unit_to_mel` wrote.

    Raises:
        RecipeError: no such vocoder, or its files are missing or damaged.
    """
    if name == "griffinlim":
        return GriffinLimVocoder(folder, device)
    raise RecipeError(f"no vocoder {name!r}; there are {', '.join(VOCODERS)}")
