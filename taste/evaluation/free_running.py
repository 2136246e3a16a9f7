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
from taste.evaluation.bootstrap import bootstrap_of_sums
from taste.evaluation.unit_alignment import UnitAligner, read_words
from taste.files import read_json_lines
from taste.model.decoding import Limits
from taste.model.joint import JointModel
from taste.model.sampling import Sampling


@dataclass
class Spoken:
    """What a system made of one utterance."""

    positions: int  # that the LM has read before the first unit
    edits: int  # to turn its units into the recording's
    units: int
    reference_units: int
    at_limit: bool  # it did not end by itself
    durations: list[float]  # seconds of each word; empty where they are not known
    reference_durations: list[float]
    usual_durations: list[float]  # of the same words in training


@dataclass
class Sampled:
    """The units of one utterance as a system sampled them."""

    units: list[int]
    at_limit: bool  # cut off at the most units that a text token may have
    positions: int  # that the LM has read before the first unit


@torch.inference_mode()
def speak(
    model: JointModel,
    dataset: UnitDataset,
    sampling: Sampling,
    seed: int,
    batch_units: int,
    device: torch.device,
    what: str | None = None,
) -> dict[str, Sampled]:
    """Sample the units of every utterance; the random numbers go by the seed and the utterance.

    Args:
        batch_units: as in `UnitDataset.batches`, of the recordings' units.
    """
    limits = Limits.for_rate(dataset.units_record["rate"])
    spoken = {}
    for batch in dataset.read(batch_units, device, what):
        decoded = model.decode(batch, sampling, limits, seed)
        columns = (decoded.unit, decoded.unit_length, decoded.at_limit, decoded.read)
        for utt, units, n, at_limit, read in zip(batch.utts, *(column.tolist() for column in columns), strict=True):
            spoken[utt] = Sampled(units[:n], at_limit, read)
    return spoken


def compare_with_recording(
    sampled: Mapping[str, Sampled], dataset: UnitDataset, aligner: UnitAligner | None
) -> dict[str, Spoken]:
    """Measure what was spoken against the recordings' units and, where they are known, word times.

    Utterances whose words cannot be aligned are named and counted; they keep their other figures.

    Args:
        aligner: None where no word times are known.
    """
    words = read_words(dataset.data_dir / "utt2words") if aligner else {}
    skipped = Skipped(f"word durations of {dataset.data_dir}")
    results = {}
    for utt, each in sampled.items():
        reference = dataset.units(utt)
        durations: list[float] = []
        try:
            if utt in words:
                durations = aligner.durations(each.units, [word for word, _, _ in words[utt]]).tolist()
        except UtteranceError as error:
            skipped.add(utt, error)
        known = words[utt] if durations else []
        true = [end - start for _, start, end in known]
        usual = [aligner.usual_duration[word] for word, _, _ in known]
        edits = edit_distance(each.units, reference)
        sizes = (len(each.units), len(reference))
        results[utt] = Spoken(each.positions, edits, *sizes, each.at_limit, durations, true, usual)
    skipped.report(len(sampled), may_be_all=True)
    return results


def summary(spoken: Mapping[str, Spoken]) -> dict[str, float | int | None]:
    """Figures over all utterances.

    `positions` is what the LM reads before the units, per unit of the recordings; `unit_error_rate` the edits per unit
    of the recordings; `length_ratio` all units spoken by all recorded; `length_deviation` the mean size of the
    logarithm of an utterance's ratio; `duration_correlation` Pearson's, of spoken with recorded words, over the `words`
    that could be aligned; `relative_duration_correlation` the same of the logarithms of durations divided by the word's
    usual one, which is what the text cannot tell. Both are None where no word times are known.
    """
    rows = list(spoken.values())
    made = np.concatenate([row.durations for row in rows])
    true = np.concatenate([row.reference_durations for row in rows])
    usual = np.concatenate([row.usual_durations for row in rows])
    return {
        "positions": sum(row.positions for row in rows) / sum(row.reference_units for row in rows),
        "unit_error_rate": sum(row.edits for row in rows) / sum(row.reference_units for row in rows),
        "length_ratio": sum(row.units for row in rows) / sum(row.reference_units for row in rows),
        "length_deviation": float(np.mean([abs(np.log(max(1, row.units) / row.reference_units)) for row in rows])),
        "duration_correlation": correlation(made, true),
        "relative_duration_correlation": correlation(relative(made, usual), relative(true, usual)),
        "words": len(made),
        "at_limit": sum(row.at_limit for row in rows),
        "utts": len(rows),
    }


def correlation(a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray) -> float | None:
    """Pearson's; None where one of the two does not vary."""
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if len(a) < 2 or not a.std() or not b.std():
        return None
    return float(np.corrcoef(a, b)[0, 1])


def relative(durations: np.ndarray | Sequence[float], usual: np.ndarray | Sequence[float]) -> np.ndarray:
    """The logarithms of durations divided by the usual ones."""
    return np.log(np.asarray(durations) / np.asarray(usual))


def load_spoken(path: Path) -> dict[str, Spoken]:
    """Read the file of `spoken_record`s."""
    return {record.pop("utt"): Spoken(**record) for record in read_json_lines(path, "stage 10")}


def compare_durations(
    a: Mapping[str, Spoken], b: Mapping[str, Spoken], is_relative: bool, seed: int = 1
) -> dict[str, float]:
    """Difference in the correlation of word durations, a minus b, with its paired bootstrap interval over utterances.

    Utterances whose words could be aligned for one of the two only are left out.

    Args:
        is_relative: of the durations relative to the words' usual ones, as in `summary`.

    Returns:
        `difference`, the 95 % interval's ends `low` and `high`, and `utts`.
    """
    utts = [utt for utt in sorted(a) if a[utt].durations and utt in b and b[utt].durations]
    columns = np.array([_sums(a[utt], is_relative) + _sums(b[utt], is_relative) for utt in utts])

    def difference(sums: np.ndarray) -> np.ndarray:
        return _correlation_of_sums(sums[..., :6]) - _correlation_of_sums(sums[..., 6:])

    return bootstrap_of_sums(columns, difference, seed)


def duration_correlation(spoken: Mapping[str, Spoken], is_relative: bool, seed: int = 1) -> dict[str, float]:
    """The correlation of word durations in `summary`, with its bootstrap interval over utterances.

    Args:
        is_relative: of the durations relative to the words' usual ones.

    Returns:
        `difference`, which is the correlation; the 95 % interval's ends `low` and `high`; and `utts`.
    """
    columns = np.array([_sums(each, is_relative) for each in spoken.values() if each.durations])
    return bootstrap_of_sums(columns, _correlation_of_sums, seed)


def _sums(spoken: Spoken, is_relative: bool) -> list[float]:
    """What Pearson's correlation can be reckoned from, of one utterance."""
    x, y = np.array(spoken.durations), np.array(spoken.reference_durations)
    if is_relative:
        x, y = relative(x, spoken.usual_durations), relative(y, spoken.usual_durations)
    return [len(x), x.sum(), y.sum(), (x * x).sum(), (y * y).sum(), (x * y).sum()]


def _correlation_of_sums(sums: np.ndarray) -> np.ndarray:
    """(…, 6) sums as `_sums` gives them -> (…)."""
    n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    return (n * xy - x * y) / np.sqrt((n * xx - x * x) * (n * yy - y * y))


def spoken_record(utt: str, spoken: Spoken) -> dict[str, object]:
    """One line of a per-utterance file."""
    return {"utt": utt, **asdict(spoken)}


def make_aligner(train_dir: Path, test_dirs: Sequence[Path], units: int, rate: float) -> UnitAligner | None:
    """An aligner from the training set; None where word times are not known."""
    if not all((folder / "utt2words").is_file() for folder in (train_dir, *test_dirs)):
        return None
    return UnitAligner(train_dir, units, rate)
