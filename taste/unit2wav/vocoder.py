"""What makes waveforms of units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor


class Vocoder(Protocol):
    """Makes waveforms, at `sample_rate` Hz, of the units of one inventory."""

    name: str
    sample_rate: int

    def check_units(self, properties: Mapping[str, Any], where: str) -> None:
        """Refuse units that this vocoder does not know.

        Args:
            properties: what `units.json` says of them, see `taste.units.record.PROPERTIES`.
            where: what to call them in the message: the path of that file, say.

        Raises:
            RecipeError: they are of another inventory.
        """

    def __call__(self, units: Sequence[Tensor], spk_embs: Tensor) -> list[Tensor]:
        """Waveforms of a batch; what an utterance gets depends on nothing else in the batch.

        Args:
            units: of each utterance, (units,) int64.
            spk_embs: speaker embeddings, (batch, spk_dim) float32.

        Returns:
            For each utterance (samples,), float32 within [-1, 1], on the CPU.

        Raises:
            RecipeError: units or embeddings are none of this vocoder's.
        """
