"""Stage 1's look at a corpus: every file is decoded."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

from taste.benchmark.speech import SECONDS, synthetic
from taste.corpus import librispeech
from taste.corpus.librispeech import Utterance, check_audio

OF_EACH = 16  # of the lengths
UTTERANCES = OF_EACH * len(SECONDS)


def check(readers: int = librispeech.READERS) -> Callable[[], float]:
    """`taste.corpus.librispeech.check_audio`, by as many threads."""
    folder = tempfile.TemporaryDirectory()
    utterances = [Utterance(path.stem, "", path, "", "") for path in synthetic(OF_EACH, Path(folder.name))]

    def work() -> float:
        with patch.object(librispeech, "READERS", readers):
            check_audio(utterances, folder.name)
        return 0.0

    return work
