"""What a maker of units is, and how it is applied to a data directory (stage 5)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np

from taste.errors import RecipeError, Skipped
from taste.files import write_json
from taste.tables import read_table, write_table
from taste.units.cosyvoice import load_cosyvoice_units
from taste.units.kmeans import KMeansUnits
from taste.units.speech import speech_batches

BACKENDS = ("kmeans", "cosyvoice")


class UnitBackend(Protocol):
    """Makes units of speech; `record` goes to `units.json` and holds at least `taste.units.record.PROPERTIES`."""

    record: dict[str, Any]

    def encode(self, samples: list[np.ndarray]) -> list[np.ndarray]:
        """Units of a batch: each float32 (samples,) at 16 kHz, 20 ms to 30 s, to integers (units,) below `K`."""


def load_unit_backend(
    backend: str, units_dir: str | Path, pretrained_dir: str | Path, cosyvoice_dir: str | Path | None, device: str
) -> UnitBackend:
    """Load a backend of `BACKENDS`.

    Args:
        backend: its name.
        units_dir: what `local/train_kmeans.py` wrote; only `kmeans` needs it.
        pretrained_dir: where Whisper's weights are kept; only `kmeans` needs it.
        cosyvoice_dir: the CosyVoice-300M directory; only `cosyvoice` needs it.
        device: `cpu` or `cuda`.

    Raises:
        RecipeError: no such backend; its codebook, weights or package are missing or do not fit together.
    """
    if backend == "kmeans":
        return KMeansUnits(Path(units_dir), Path(pretrained_dir), device)
    if backend != "cosyvoice":
        raise RecipeError(f"no unit backend {backend!r}; there are {', '.join(BACKENDS)}")
    if cosyvoice_dir is None:
        raise RecipeError("the backend cosyvoice needs speech_tokenizer_v1 of CosyVoice-300M: give --cosyvoice_dir")
    return load_cosyvoice_units(Path(cosyvoice_dir), device)


def write_units(data_dir: str | Path, backend: UnitBackend, allow_pipes: bool = False) -> None:
    """Write `utt2s3` and `units.json` of a data directory.

    Utterances whose audio is unfit are named, counted and left out.

    Raises:
        RecipeError: no `wav.scp`, or a command in it without `allow_pipes`.
    """
    data_dir = Path(data_dir)
    wav_scp = read_table(data_dir / "wav.scp", "stage 1")
    skipped = Skipped("units")
    table: dict[str, str] = {}
    by_length = _by_length(wav_scp, data_dir / "utt2dur")
    for batch in speech_batches(by_length, "units", allow_pipes, skipped):
        units = backend.encode([samples for _, samples in batch])
        table.update((utt, " ".join(map(str, row))) for (utt, _), row in zip(batch, units, strict=True))
    skipped.report(len(wav_scp), may_be_all=True)
    write_table(data_dir / "utt2s3", table)
    write_json(data_dir / "units.json", backend.record)


def _by_length(wav_scp: dict[str, str], utt2dur: Path) -> dict[str, str]:
    """Shortest first, where durations are known, so that a batch needs little padding."""
    seconds = read_table(utt2dur) if utt2dur.exists() else {}
    return dict(sorted(wav_scp.items(), key=lambda entry: float(seconds.get(entry[0], 0))))
