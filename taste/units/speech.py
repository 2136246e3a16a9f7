"""Speech of a data directory in batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from taste.audio import SAMPLE_RATE, read_speech
from taste.errors import Skipped, UtteranceError
from taste.progress import progress
from taste.whisper_features import batches, check_length

BATCH_SECONDS = 60.0


def speech_batches(
    wav_scp: Mapping[str, str], what: str, allow_pipes: bool, skipped: Skipped
) -> Iterator[list[tuple[str, np.ndarray]]]:
    """Yield `(utt, samples)` in batches of at most a minute, in the order of `wav_scp`.

    Utterances whose audio cannot be read, is not 16 kHz mono, or lasts less than 20 ms or more than 30 s go to
    `skipped`; `what` names the work in the progress shown.
    """
    speech = _read(progress(wav_scp.items(), what, len(wav_scp)), allow_pipes, skipped)
    yield from batches(speech, lambda item: len(item[1]) / SAMPLE_RATE, BATCH_SECONDS)


def _read(
    sources: Iterator[tuple[str, str]], allow_pipes: bool, skipped: Skipped
) -> Iterator[tuple[str, np.ndarray]]:
    for utt, source in sources:
        try:
            samples = read_speech(source, allow_pipes)
            check_length(samples)
        except UtteranceError as error:
            skipped.add(utt, error)
            continue
        yield utt, samples
