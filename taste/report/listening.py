"""What the report lets one hear: the same utterances as recorded, from their own units, and from each system."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from taste.audio import read_audio
from taste.editing.edits import BEFORE, EDITS
from taste.editing.table import VARIANTS
from taste.errors import RecipeError, Skipped, UtteranceError
from taste.files import read_json
from taste.reconstruction import TOPLINE
from taste.report.pictures import data_uri
from taste.scores.table import ORIGINAL
from taste.tables import read_table

EDIT_ROWS = {
    ORIGINAL: "recording",
    BEFORE: "its own tokens",
    **VARIANTS,
}


@dataclass(frozen=True)
class Clip:
    """A sound of the page: which row it is of, its length in seconds, and itself as a data URI."""

    row: str
    seconds: float
    source: str


@dataclass(frozen=True)
class Utterance:
    """An utterance and its sounds; of an edit, which words were given the tokens of which other utterance."""

    utt: str
    speaker: str
    text: str
    clips: Sequence[Clip]
    edited_words: Sequence[str] = ()
    donor: str = ""

    def words(self) -> list[tuple[str, bool]]:
        """The words of the text, each with whether it is one of the edited; LibriSpeech's capitals in lower case."""
        words = (self.text.lower() if self.text.isupper() else self.text).split()
        edited = [_bare(word) for word in self.edited_words]
        marked = []
        for word in words:
            is_next = bool(edited) and _bare(word) == edited[0]
            marked.append((word, is_next))
            edited = edited[is_next:]
        return marked


@dataclass(frozen=True)
class Listening:
    """The utterances of one test set that can be heard, and why others were left out."""

    test_set: str
    rows: Sequence[str]
    utterances: Sequence[Utterance]
    left_out: Mapping[str, str]


def listen(
    exp_dir: Path, data_dir: Path, systems: Sequence[str], utts: int, seed: int, allow_pipes: bool = False
) -> Listening:
    """Choose utterances of a set and read all their waveforms.

    Rows are the recordings and those of `topline` and `systems` that have waveforms (stage 11). Utterances that lack
    one, or whose sound cannot be read, are named and left out, and the next ones take their place.

    Args:
        data_dir: of the set, e.g. data/test.
        utts: how many utterances.
        seed: of the choice.
        allow_pipes: run commands in `wav.scp`.

    Raises:
        RecipeError: a table is missing, or there is no utterance all of whose waveforms can be read.
    """
    text, utt2spk = (read_table(data_dir / name, "stage 1") for name in ("text", "utt2spk"))
    waveforms = {ORIGINAL: read_table(data_dir / "wav.scp", "stage 1")}
    for row in (TOPLINE, *systems):
        if (scp := exp_dir / row / "wav" / data_dir.name / "wav.scp").exists():
            waveforms[row] = read_table(scp)
    skipped = Skipped(f"listening table of {data_dir.name}")
    chosen: list[Utterance] = []
    tried = 0
    for utt in speakers_in_turn({utt: utt2spk[utt] for utt in text if utt in utt2spk}, seed):
        if len(chosen) == utts:
            break
        tried += 1
        try:
            clips = [_clip(row, table, utt, allow_pipes) for row, table in waveforms.items()]
        except UtteranceError as error:
            skipped.add(utt, error)
        else:
            chosen.append(Utterance(utt, utt2spk[utt], text[utt], clips))
    skipped.report(tried)
    return Listening(data_dir.name, list(waveforms), chosen, skipped.reasons)


def speakers_in_turn(utt2spk: Mapping[str, str], seed: int) -> Iterator[str]:
    """All utterances in an order by chance in which each speaker comes once before one comes twice."""
    random = np.random.default_rng(seed)
    by_speaker: dict[str, list[str]] = {}
    for utt, speaker in utt2spk.items():
        by_speaker.setdefault(speaker, []).append(utt)
    rounds = zip_longest(*(random.permutation(utts) for utts in by_speaker.values()))
    for each in rounds:
        utts = [str(utt) for utt in each if utt is not None]
        yield from (utts[i] for i in random.permutation(len(utts)))


def _clip(row: str, waveforms: Mapping[str, str], utt: str, allow_pipes: bool) -> Clip:
    if utt not in waveforms:
        raise UtteranceError(f"no waveform of {row}")
    return sound(row, *read_audio(waveforms[utt], allow_pipes))


def sound(row: str, samples: np.ndarray, rate: int) -> Clip:
    """Compress samples, float (samples,), to mp3, which every browser plays: 40 kbit/s of speech at 16 kHz.

    Raises:
        RecipeError: libsndfile is too old to write mp3.
        UtteranceError: mp3 has no such sampling rate.
    """
    if "MP3" not in soundfile.available_formats():
        raise RecipeError(
            f"libsndfile {soundfile.__libsndfile_version__} cannot write mp3, which the report plays; version 1.1 and "
            "later can: pip install --force-reinstall soundfile brings one"
        )
    stream = io.BytesIO()
    try:
        soundfile.write(stream, samples, rate, format="MP3", subtype="MPEG_LAYER_III")
    except soundfile.LibsndfileError as error:
        raise UtteranceError(f"the waveform of {row} at {rate} Hz cannot be written as mp3 ({error})") from error
    return Clip(row, len(samples) / rate, data_uri("audio/mpeg", stream.getvalue()))


@dataclass(frozen=True)
class Edits:
    """The edits of stage 11: the contents of `edits.json`, some to be heard, and why others were left out."""

    record: Mapping[str, Any]
    examples: Sequence[Utterance]
    left_out: Mapping[str, str]


def listen_to_edits(exp_dir: Path) -> Edits | None:
    """Read `exp_dir/edits/edits.json` and its waveforms; None where there is none."""
    if not (path := exp_dir / EDITS).exists():
        return None
    edits = read_json(path, "stage 11")
    skipped = Skipped("edits")
    examples = []
    for example in edits["examples"]:
        try:
            clips = [sound(row, *read_audio(str(exp_dir / example["wav"][kind]))) for kind, row in EDIT_ROWS.items()]
        except UtteranceError as error:
            skipped.add(example["utt"], error)
        else:
            examples.append(
                Utterance(example["utt"], "", example["text"], clips, example["words"], donor=example["donor"])
            )
    skipped.report(len(edits["examples"]))
    return Edits(edits, examples, skipped.reasons)


def _bare(word: str) -> str:
    return re.sub(r"[^\w']", "", word).lower()
