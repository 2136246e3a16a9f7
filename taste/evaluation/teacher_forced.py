"""Teacher-forced evaluation: what each utterance's units cost, and how many of them are foreseen."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, astuple, dataclass

import numpy as np
import torch

from taste.dataset import UnitDataset
from taste.model.batch import Batch
from taste.model.joint import JointModel, Prediction
from taste.model.transformer import length_mask
from taste.precision import autocast


@dataclass
class Score:
    """Sums over the units of one utterance, or of several added up."""

    nll: float = 0.0  # nats, the end of speech included
    units: int = 0
    ends: int = 0  # ends of speech: one an utterance
    top1: int = 0
    top5: int = 0
    change_top1: int = 0  # of the units that differ from the one before
    changes: int = 0
    end_top1: int = 0  # ends of speech foreseen

    def __add__(self, other: Score) -> Score:
        return Score(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def summary(self) -> dict[str, float | int]:
        """The figures of the results table.

        `loss` is in nats per unit, ends of speech counted as units; `ppl` its exponential. Accuracies are fractions of
        the units without the ends; `acc` counts them in, as upstream's `th_accuracy` does.
        """
        loss = self.nll / (self.units + self.ends)
        return {
            "loss": loss,
            "ppl": math.exp(loss),
            "top1": self.top1 / self.units,
            "top5": self.top5 / self.units,
            "top1_change": self.change_top1 / max(1, self.changes),
            "acc": (self.top1 + self.end_top1) / (self.units + self.ends),
            "units": self.units,
            "utts": self.ends,
        }


def total(scores: Iterable[Score]) -> Score:
    """The sum of several utterances' scores."""
    return sum(scores, Score())


def score_prediction(batch: Batch, prediction: Prediction) -> dict[str, Score]:
    """Score each utterance of a batch."""
    k = min(5, prediction.logits.shape[-1])
    right = prediction.logits.topk(k, dim=-1).indices == prediction.target[..., None]
    first, among = right[..., 0], right.any(-1)
    is_unit = length_mask(batch.unit_length, first.shape[1])
    changes = torch.zeros_like(is_unit)  # the first unit has none before it, and the end of speech is no unit
    changes[:, 1:-1] = batch.unit[:, 1:] != batch.unit[:, :-1]
    changes &= is_unit
    columns = {
        "top1": first & is_unit, "top5": among & is_unit, "change_top1": first & changes, "changes": changes,
        "end_top1": first & prediction.counted() & ~is_unit,
    }  # fmt: skip
    counts = {name: column.sum(1).tolist() for name, column in columns.items()}
    losses, units = prediction.losses().double().sum(1).tolist(), batch.unit_length.tolist()
    return {
        utt: Score(losses[i], units[i], ends=1, **{name: count[i] for name, count in counts.items()})
        for i, utt in enumerate(batch.utts)
    }


@torch.inference_mode()
def evaluate(
    model: JointModel,
    dataset: UnitDataset,
    batch_units: int,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    what: str | None = None,
    share: Callable[[list[list[int]]], list[list[int]]] = list,
) -> dict[str, Score]:
    """Score the utterances of a dataset.

    Args:
        model: in any mode; it is left in evaluation mode.
        batch_units: as in `UnitDataset.batches`; it does not change the result beyond rounding.
        dtype: of autocast.
        what: shown with the progress, which is not shown without.
        share: picks the batches that this process scores, where several do.

    Returns:
        A score for each utterance id.
    """
    model.eval()
    scores: dict[str, Score] = {}
    for batch in dataset.read(batch_units, device, what, share):
        with autocast(device, dtype):
            prediction = model(batch)
        scores.update(score_prediction(batch, prediction))
    return scores


class UnitCounts:
    """Frequencies of units in training data, for the two rows that every table has beside the systems."""

    def __init__(self, train: UnitDataset, units: int) -> None:
        """Count, adding one to each unit and to the end of speech so that none is impossible."""
        self.end = units
        counts = np.ones(units + 1)
        repeated = pairs = 0
        for ids in _unit_sequences(train):
            counts[:units] += np.bincount(ids, minlength=units)
            counts[units] += 1
            repeated += int((ids[1:] == ids[:-1]).sum())
            pairs += len(ids) - 1
        self.probability = counts / counts.sum()
        self.repeat_probability = repeated / max(1, pairs)
        self.common = np.argsort(-self.probability[:units], kind="stable")

    def unigram(self, test: UnitDataset) -> dict[str, Score]:
        """Always the same distribution: the units' frequencies in training."""
        return {
            utt: self._score(ids, -np.log(self.probability[ids]), np.tile(self.common[:5], (len(ids), 1)))
            for utt, ids in zip(test.utts, _unit_sequences(test), strict=True)
        }

    def copy_previous(self, test: UnitDataset) -> dict[str, Score]:
        """The unit before, with the probability of a repetition in training; the rest goes to the frequencies.

        The first unit has none before it and is the unigram's.
        """
        scores = {}
        for utt, ids in zip(test.utts, _unit_sequences(test), strict=True):
            likelihood = self.probability[ids].copy()
            likelihood[1:] *= 1 - self.repeat_probability
            likelihood[1:] += self.repeat_probability * (ids[1:] == ids[:-1])
            guesses = np.tile(self.common[:5], (len(ids), 1))
            for i in range(1, len(ids)):
                others = [unit for unit in self.common[:5] if unit != ids[i - 1]]
                guesses[i] = [ids[i - 1], *others][: guesses.shape[1]]
            scores[utt] = self._score(ids, -np.log(likelihood), guesses, 1 - self.repeat_probability)
        return scores

    def _score(self, ids: np.ndarray, nll: np.ndarray, guesses: np.ndarray, end_weight: float = 1.0) -> Score:
        right = guesses == ids[:, None]
        changed = np.append(False, ids[1:] != ids[:-1])
        return Score(
            nll=float(nll.sum() - np.log(end_weight * self.probability[self.end])),
            units=len(ids),
            ends=1,
            top1=int(right[:, 0].sum()),
            top5=int(right.any(1).sum()),
            change_top1=int(right[changed, 0].sum()),
            changes=int(changed.sum()),
        )


def _unit_sequences(dataset: UnitDataset) -> Iterable[np.ndarray]:
    """Units of each utterance, in the order of `dataset.utts`."""
    return (np.array(dataset.units(utt)) for utt in dataset.utts)


def score_record(utt: str, score: Score) -> dict[str, object]:
    """One line of a per-utterance score file."""
    return {"utt": utt, **asdict(score)}
