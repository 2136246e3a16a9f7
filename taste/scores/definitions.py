"""Which scores there are, in the order of the table, and how the values of utterances become one of a set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from taste.evaluation.bootstrap import bootstrap_of_sums
from taste.scores.words import TOLERANCES_MS

Value = tuple[float, float]  # of one utterance, and its weight in that of the set


@dataclass(frozen=True)
class Definition:
    """What a score is.

    Attributes:
        title: for a column.
        unit: empty where it has none.
        better: "higher", "lower", or None.
        how: one sentence.
        decimals: that are worth showing.
    """

    title: str
    unit: str
    better: str | None
    how: str
    decimals: int = 2


def consistency(tolerance: int) -> str:
    """The name of the duration consistency at a tolerance in ms."""
    return f"duration_consistency_{tolerance}"


DEFINITIONS: dict[str, Definition] = {
    "wer": Definition(
        "WER", "%", "lower",
        "Word errors (jiwer) per word of the transcripts, both texts normalized by Whisper's EnglishTextNormalizer; "
        "heard by Whisper {whisper}.", 1,
    ),
    "dnsmos": Definition(
        "DNSMOS", "MOS", "higher", "Overall quality that DNSMOS P.835 (package speechmos) estimates, from 1 to 5."
    ),
    "speaker_similarity": Definition(
        "speaker similarity", "", "higher",
        "Cosine of the speaker embeddings of waveform and original, by {speaker}; the speech was conditioned on "
        "{conditioning}.",
    ),
    **{
        consistency(tolerance): Definition(
            f"duration consistency, {tolerance} ms", "", "higher",
            f"Share of words that Whisper {{whisper}} times less than {tolerance} ms longer or shorter than in the "
            "original (on its grid of 20 ms), of the words that are spelt the same there, of utterances with as many "
            "words as the original.",
        )
        for tolerance in TOLERANCES_MS
    },
    "words_differ": Definition(
        "other number of words", "%", "lower",
        "Utterances in which Whisper {whisper} hears more or fewer words than in the original, so that their durations "
        "are not compared.", 1,
    ),
    "f0_correlation": Definition(
        "F0 correlation", "", "higher",
        "Mean correlation of log F0 (librosa's pYIN) with the original's, over frames that have a voice in both, "
        "aligned by DTW of mel cepstra.",
    ),
    "log_f0_rmse": Definition(
        "log-F0 RMSE", "", "lower",
        "Mean root-mean-square difference of the natural logarithm of F0, over these frames.", 3,
    ),
    "mcd": Definition(
        "MCD", "dB", "lower", "Mel-cepstral distortion of 24 coefficients without energy, aligned by DTW."
    ),
    "stoi": Definition(
        "STOI", "", "higher",
        "Short-time objective intelligibility (pystoi) against the original; of the topline only, as systems have "
        "another timing.", 3,
    ),
    "pesq": Definition(
        "PESQ", "MOS", "higher", "Wide-band PESQ (package pesq) against the original; of the topline only."
    ),
    "bits_per_second": Definition(
        "bit/s", "", "lower",
        "Of a system's TASTE tokens, each integer at log2 of its codebook's size, without the text; of the topline, "
        "units a second times log2 of the number of units.", 0,
    ),
    "real_time_factor": Definition(
        "real-time factor", "", "lower",
        "Seconds that stage 11 computed per second of audio, from units to waveform.", 3,
    ),
}  # fmt: skip


def summarize(values: Sequence[Value], seed: int) -> dict[str, float | int | None] | None:
    """The weighted mean over utterances with its 95 % bootstrap interval; None where no utterance has a value.

    Args:
        values: of the utterances; those of weight 0 say nothing.
        seed: of the bootstrap.

    Returns:
        `mean`, `low`, `high`, `utts`; one utterance alone has no interval.
    """
    known = np.array([(value * weight, weight) for value, weight in values if weight > 0])
    if not len(known):
        return None
    if len(known) == 1:
        return {"mean": float(known[0, 0] / known[0, 1]), "low": None, "high": None, "utts": 1}
    found = bootstrap_of_sums(known, lambda sums: sums[..., 0] / sums[..., 1], seed)
    return {"mean": found["difference"], "low": found["low"], "high": found["high"], "utts": found["utts"]}


def of_the_set(value: float, utts: int) -> dict[str, float | int | None]:
    """A figure that is known of a set as a whole, without an interval."""
    return {"mean": value, "low": None, "high": None, "utts": utts}
