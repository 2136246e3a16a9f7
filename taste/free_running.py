"""Free-running evaluation: units that a system samples by itself, beside those of the recording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torchaudio.functional import edit_distance

from taste.dataset import UnitDataset
from taste.errors import Skipped, UtteranceError
from taste.model.decoding import Limits
from taste.model.joint import JointModel
from taste.model.sampling import Sampling
from taste.progress import progress
from taste.unit_alignment import UnitAligner, read_words


@dataclass
class Spoken:
    """What a system made of one utterance."""

    edits: int  # to turn its units into the recording's
    units: int
    reference_units: int
    at_limit: bool  # it did not end by itself
    durations: list[float]  # seconds of each word; empty where they are not known
    reference_durations: list[float]


@torch.inference_mode()
def speak(
    model: JointModel, dataset: UnitDataset, seed: int, batch_units: int, device: torch.device, what: str | None = None
) -> dict[str, tuple[list[int], bool]]:
    """Sample the units of every utterance as CosyVoice does; the random numbers go by the seed and the utterance.

    Returns:
        For each utterance its units, and whether it was cut off at the most units that a text token may have.
    """
    limits = Limits.for_rate(dataset.units_record["rate"])
    groups = dataset.batches(batch_units)
    batches = dataset.load(groups)
    spoken = {}
    for batch in progress(batches, what, len(groups), "batch") if what else batches:
        if not batch.utts:
            continue
        decoded = model.decode(batch.to(device), Sampling(), limits, seed)
        rows = zip(batch.utts, decoded.unit.tolist(), decoded.unit_length, decoded.at_limit, strict=True)
        spoken.update({utt: (units[: int(n)], bool(at_limit)) for utt, units, n, at_limit in rows})
    return spoken


def compare_with_recording(
    spoken: Mapping[str, tuple[list[int], bool]], dataset: UnitDataset, aligner: UnitAligner | None
) -> dict[str, Spoken]:
    """Measure what was spoken against the recordings' units and, where they are known, word times.

    Utterances whose words cannot be aligned are named and counted; they keep their other figures.

    Args:
        aligner: None where no word times are known.
    """
    words = read_words(dataset.data_dir / "utt2words") if aligner else {}
    skipped = Skipped(f"word durations of {dataset.data_dir}")
    results = {}
    for utt, (units, at_limit) in spoken.items():
        reference = dataset.units(utt)
        durations: list[float] = []
        try:
            if utt in words:
                durations = aligner.durations(units, [word for word, _, _ in words[utt]]).tolist()
        except UtteranceError as error:
            skipped.add(utt, error)
        true = [end - start for _, start, end in words[utt]] if durations else []
        edits = edit_distance(units, reference)
        results[utt] = Spoken(edits, len(units), len(reference), at_limit, durations, true)
    skipped.report(len(spoken), may_be_all=True)
    return results


def summary(spoken: Mapping[str, Spoken]) -> dict[str, float | int]:
    """Figures over all utterances.

    `unit_error_rate` is the edits per unit of the recordings; `length_ratio` all units spoken by all recorded;
    `duration_correlation` Pearson's, of spoken with recorded words, over the `words` that could be aligned.
    """
    rows = list(spoken.values())
    made = np.concatenate([row.durations for row in rows])
    true = np.concatenate([row.reference_durations for row in rows])
    return {
        "unit_error_rate": sum(row.edits for row in rows) / sum(row.reference_units for row in rows),
        "length_ratio": sum(row.units for row in rows) / sum(row.reference_units for row in rows),
        "length_deviation": float(np.mean([abs(np.log(max(1, row.units) / row.reference_units)) for row in rows])),
        "duration_correlation": correlation(made, true),
        "words": len(made),
        "at_limit": sum(row.at_limit for row in rows),
        "utts": len(rows),
    }


def correlation(a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray) -> float:
    """Pearson's; NaN where one of the two does not vary."""
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if len(a) < 2 or not a.std() or not b.std():
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def spoken_record(utt: str, spoken: Spoken) -> dict[str, object]:
    """One line of a per-utterance file."""
    return {"utt": utt, **asdict(spoken)}


def make_aligner(train_dir: Path, test_dirs: Sequence[Path], units: int, rate: float) -> UnitAligner | None:
    """An aligner from the training set; None where word times are not known."""
    if not all((folder / "utt2words").is_file() for folder in (train_dir, *test_dirs)):
        return None
    return UnitAligner(train_dir, units, rate)
