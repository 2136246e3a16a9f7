"""Speech of a data directory in batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from taste.audio import SAMPLE_RATE
from taste.errors import Skipped
from taste.progress import progress
from taste.whisper.features import batches, read_usable

BATCH_SECONDS = 60.0


def speech_batches(
    wav_scp: Mapping[str, str], what: str, allow_pipes: bool, skipped: Skipped
) -> Iterator[list[tuple[str, np.ndarray]]]:
    """Yield `(utt, samples)` in batches of at most a minute, in the order of `wav_scp`.

    Utterances whose audio cannot be read, is not 16 kHz mono, or lasts less than 20 ms or more than 30 s go to
    `skipped`; `what` names the work in the progress shown.
    """
    speech = read_usable(progress(wav_scp.items(), what, len(wav_scp)), allow_pipes, skipped)
    yield from batches(speech, lambda item: len(item[1]) / SAMPLE_RATE, BATCH_SECONDS)
