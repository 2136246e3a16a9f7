"""The choice of a vocoder by its name."""

from __future__ import annotations

from pathlib import Path

import torch

from taste.errors import RecipeError
from taste.unit2wav.cosyvoice import load_cosyvoice_vocoder
from taste.unit2wav.griffinlim import GriffinLimVocoder
from taste.unit2wav.vocoder import Vocoder

VOCODERS = ("griffinlim", "cosyvoice")


def load_vocoder(name: str, folder: Path, device: torch.device, cosyvoice_code: Path | None = None) -> Vocoder:
    """Load a vocoder of `VOCODERS`.

    Args:
        name: its name.
        folder: of griffinlim, that `train_unit_to_mel` wrote; of cosyvoice, that of CosyVoice-300M.
        cosyvoice_code: a checkout of FunAudioLLM/CosyVoice, in place of the package.

    Raises:
        RecipeError: no such vocoder, or its files are missing or damaged.
    """
    if name == "griffinlim":
        return GriffinLimVocoder(folder, device)
    if name == "cosyvoice":
        return load_cosyvoice_vocoder(folder, cosyvoice_code, device)
    raise RecipeError(f"no vocoder {name!r}; there are {', '.join(VOCODERS)}")
