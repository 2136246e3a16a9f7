"""What turns units into waveforms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor


class Vocoder(Protocol):
    """Turns units into waveforms.

    Attributes:
        name: of the kind of vocoder.
        sample_rate: of the waveforms, in Hz.
        weights_sha256: of its weights; another one makes other waveforms.
    """

    name: str
    sample_rate: int
    weights_sha256: str

    def check_units(self, properties: Mapping[str, Any], where: str) -> None:
        """Refuse units that it was not made for.

        Args:
            properties: the contents of `units.json`.
            where: the units are from, for the message.

        Raises:
            RecipeError: with the first property that differs.
        """

    def __call__(self, units: Sequence[Tensor], spk_embs: Tensor) -> list[Tensor]:
        """Make the waveforms of a batch; the same input gives the same samples.

        Args:
            units: of each utterance (units,), int64.
            spk_embs: (batch, spk_dim).

        Returns:
            Of each utterance (samples,), float32 within [-1, 1], on the CPU.

        Raises:
            RecipeError: speaker embeddings of a size that it does not take.
        """
