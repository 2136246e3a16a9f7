"""The vocoder that the recipe trains itself: units to a mel spectrogram and the pitch, then Griffin-Lim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from taste.audio import SAMPLE_RATE
from taste.checkpoint import fit_weights, load_weights
from taste.config import load_settings
from taste.errors import RecipeError
from taste.files import read_json, require, sha256
from taste.unit2wav.mel import griffin_lim
from taste.unit2wav.unit_to_mel import UnitToMel, UnitToMelConfig, frames_per_unit
from taste.units.record import first_difference


class GriffinLimVocoder:
    """A `taste.unit2wav.vocoder.Vocoder` from what `train_unit_to_mel` has left in a folder."""

    name = "griffinlim"
    sample_rate = SAMPLE_RATE

    def __init__(self, folder: Path, device: torch.device) -> None:
        """Load the network.

        Raises:
            RecipeError: a file is missing or damaged.
        """
        self.folder = folder
        self.record = read_json(folder / "units.json", "stage 11")
        config = load_settings(UnitToMelConfig, folder / "config.yaml")
        spk_dim = read_json(folder / "train.json", "stage 11")["spk_dim"]
        self.spk_dim = spk_dim
        self.model = UnitToMel(config, self.record["K"], spk_dim, frames_per_unit(self.record["rate"]))
        path = folder / "model.safetensors"
        self.weights_sha256 = sha256(require(path, "stage 11"))
        fit_weights(self.model, load_weights(path, "stage 11"), path)
        self.device = device
        self.model.to(device).eval()

    def check_units(self, properties: Mapping[str, Any], where: str) -> None:
        """Refuse units that the network was not trained on.

        Raises:
            RecipeError: names the first property that differs.
        """
        if name := first_difference(dict(properties), self.record):
            raise RecipeError(
                f"{self.folder} was trained on units with {name} {self.record.get(name)}, but those of {where} have "
                f"{properties.get(name)}; run stage 11 again, or take units of the same making"
            )

    @torch.inference_mode()
    def __call__(self, units: Sequence[Tensor], spk_embs: Tensor) -> list[Tensor]:
        """As `Vocoder.__call__`.

        Raises:
            RecipeError: speaker embeddings of another size than in training.
        """
        if spk_embs.shape[1] != self.spk_dim:
            raise RecipeError(
                f"{self.folder} was trained on speaker embeddings of {self.spk_dim} numbers, these have "
                f"{spk_embs.shape[1]}; run stages 6 and 11 with the same --spk_backend"
            )
        pairs = zip(units, spk_embs, strict=True)
        drawn = [self.model.draw(unit.to(self.device), spk_emb.to(self.device)) for unit, spk_emb in pairs]
        return [griffin_lim(mel.cpu(), f0.cpu()) for mel, f0 in drawn]
