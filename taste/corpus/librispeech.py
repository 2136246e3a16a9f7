"""Data directories from a corpus in LibriSpeech's tree.

    <root>/<part>/<speaker>/<chapter>/<speaker>-<chapter>-<number>.flac       (or .wav, .opus, .ogg)
    <root>/<part>/<speaker>/<chapter>/<speaker>-<chapter>.trans.txt           `utt WORDS …`
    <root>/<part>/<speaker>/<chapter>/<speaker>-<chapter>.words.txt           `utt word start end …`, where known

The speaker of an utterance is its reader, so that speakers can be held out and embeddings averaged; utterance ids begin
with it and a hyphen, which keeps Kaldi's two sort orders (by utterance, by speaker) the same.
"""

from __future__ import annotations

import json
import logging
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from taste.audio import MAX_SECONDS, read_audio
from taste.data_dir.contents import RECORDS, back_up, links, tables
from taste.errors import RecipeError, Skipped, UtteranceError
from taste.files import atomic_path
from taste.progress import progress
from taste.tables import read_table, write_table

logger = logging.getLogger(__name__)

AUDIO_SUFFIXES = (".flac", ".wav", ".opus", ".ogg")
TABLES = ("wav.scp", "text", "utt2spk", "spk2utt", "utt2dur", "utt2words", "data.jsonl")  # what stage 1 writes
READERS = 4  # threads: decoding leaves the interpreter lock
READ_AHEAD = 64  # files


@dataclass(frozen=True)
class Utterance:
    """One line of each table: `words` is the line of `utt2words` (`word start end …`), empty where not known."""

    utt: str
    spk: str
    path: Path
    text: str
    words: str


def prepare_data(
    root: str | Path,
    parts: list[str],
    data_dir: str | Path,
    hours: float | None = None,
    utts: int | None = None,
    seed: int = 0,
    dev_dir: str | Path | None = None,
    dev_utts: int = 0,
) -> None:
    """Write the data directory of some parts of a corpus, and of the speakers held out of it.

    Every file is decoded once: what cannot be read, lasts 0 s or more than 30 s, or holds NaN is named, counted and
    left out, as is whatever is wrong with the transcripts (see `read_parts`).

    Args:
        root: the corpus folder.
        parts: folders in it, e.g. `train-clean-100`.
        data_dir: where `wav.scp`, `text`, `utt2spk`, `spk2utt`, `utt2dur`, `data.jsonl` (and `utt2words`) are written.
        hours: take utterances until they last this long; None for no limit.
        utts: take this many utterances; None for no limit. Both subsets are the same for the same seed, and take from
            all speakers in turn.
        seed: of the choice of utterances and of the speakers held out.
        dev_dir: data directory of the held-out speakers; None to hold out nobody.
        dev_utts: hold out whole speakers until they have at least this many utterances.

    Raises:
        RecipeError: a part is missing or given twice, no utterance is left, or too few speakers to hold some out.
    """
    if (hours is not None and hours <= 0) or (utts is not None and utts <= 0):
        raise RecipeError("a subset needs a positive number of hours or utterances")
    skipped = Skipped("data preparation")
    utterances = read_parts(root, parts, skipped)
    skipped.report(len(utterances) + len(skipped))
    if dev_dir is not None:
        utterances, dev = hold_out(utterances, dev_utts, seed)
        write_data_dir(dev_dir, check_audio(dev, "audio of the dev set"))
    chosen = check_audio(spread_over_speakers(utterances, seed), "audio", hours, utts)
    write_data_dir(data_dir, chosen)


def read_parts(root: str | Path, parts: list[str], skipped: Skipped) -> list[Utterance]:
    """List the utterances of some parts that have a transcript and an audio file, sorted by id.

    Left out through `skipped`, with the file: transcripts without audio, audio without a transcript, transcripts that
    are empty or not UTF-8 or hold control characters, ids that occur more than once (all their occurrences: which is
    right cannot be told), that hold a space, or that do not begin with their speaker.

    Raises:
        RecipeError: a part is missing or given twice, or there is nothing in any of them.
    """
    root = Path(root).absolute()
    if repeated := [part for part, count in Counter(parts).items() if count > 1]:
        raise RecipeError(f"{', '.join(repeated)}: the same part is given more than once")
    utterances: dict[str, Utterance] = {}
    twice: dict[str, Path] = {}
    for part in parts:
        if not (root / part).is_dir():
            raise RecipeError(f"{root / part} does not exist; stage 0 downloads it, or name the folder of the corpus")
        chapters = sorted(path for path in (root / part).glob("*/*") if path.is_dir())
        for chapter in progress(chapters, f"transcripts of {part}", unit="chapters"):
            for utterance in _read_chapter(chapter, skipped):
                if utterance.utt in utterances:
                    twice[utterance.utt] = utterance.path
                else:
                    utterances[utterance.utt] = utterance
    for utt, path in twice.items():
        skipped.add(utt, "its id occurs more than once", f"{utterances.pop(utt).path}, {path}")
    if not utterances and not skipped:
        raise RecipeError(f"{root}: {', '.join(parts)} hold no <speaker>/<chapter>/ folders with transcripts and audio")
    return sorted(utterances.values(), key=lambda utterance: utterance.utt.encode())


def _read_chapter(chapter: Path, skipped: Skipped) -> Iterator[Utterance]:
    """Match the transcripts of a chapter with its audio files."""
    spk = chapter.parent.name
    audio: dict[str, Path] = {}
    for path in sorted(path for path in chapter.iterdir() if path.suffix in AUDIO_SUFFIXES):
        if path.stem in audio:
            skipped.add(path.stem, f"two audio files, {audio[path.stem].name} and {path.name}", chapter)
        audio[path.stem] = path
    words = dict(_lines(chapter.glob("*.words.txt")))
    transcripts: dict[str, str] = {}
    for transcript in sorted(chapter.glob("*.trans.txt")):
        for utt, text in _lines([transcript]):
            try:
                if utt in transcripts:
                    raise UtteranceError("it has two transcripts")
                _check_id(utt, spk)
                _check_text(text)
                if utt not in audio:
                    raise UtteranceError(f"no audio file {utt}{{{','.join(AUDIO_SUFFIXES)}}} beside its transcript")
            except UtteranceError as error:
                skipped.add(utt, error, transcript)
            transcripts[utt] = text
    for utt, path in audio.items():
        if " " in utt:
            skipped.add(utt, "an id must not hold a space; rename the file", path)
        elif utt not in transcripts:
            skipped.add(utt, "no transcript", path)
        elif "\n" in str(path) or not _is_utf8(str(path)):
            skipped.add(utt, "its path holds a line break or is not UTF-8, which no table can hold", path)
        elif utt not in skipped.reasons:
            text = " ".join(transcripts[utt].split())
            yield Utterance(utt, spk, path, text, _word_times(utt, text, words.get(utt, "")))


def _lines(paths: Iterable[Path]) -> Iterator[tuple[str, str]]:
    """Yield id and rest of each line; bytes that are not UTF-8 become lone surrogates, which `_check_text` refuses."""
    for path in paths:
        for line in path.read_text(encoding="utf-8", errors="surrogateescape").split("\n"):
            utt, _, rest = line.strip().partition(" ")
            if utt:
                yield utt, rest.strip()


def _check_id(utt: str, spk: str) -> None:
    if not utt.isprintable():
        raise UtteranceError("its id is not printable UTF-8")
    if not utt.startswith(f"{spk}-") or any(character <= "-" for character in spk):
        raise UtteranceError(
            f"an id must begin with its speaker's folder ({spk}) and a hyphen, and the folder's name must hold no "
            "space, hyphen or other sign up to '-' in ASCII; else Kaldi's orders by utterance and by speaker differ"
        )


def _check_text(text: str) -> None:
    if not text:
        raise UtteranceError("empty transcript")
    if not _is_utf8(text):
        raise UtteranceError("its transcript is not valid UTF-8; convert the file to UTF-8")
    if not "".join(text.split()).isprintable():
        raise UtteranceError("its transcript holds control characters")


def _is_utf8(text: str) -> bool:
    """Whether `text`, read with `surrogateescape`, was valid UTF-8."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _word_times(utt: str, text: str, line: str) -> str:
    """The `word start end …` line of an utterance, or nothing where it does not fit the transcript."""
    fields = line.split()
    try:
        times = [float(field) for index, field in enumerate(fields) if index % 3]
        if fields[::3] == text.split() and times == sorted(times):
            return " ".join(fields)
    except ValueError:
        pass
    if line:
        logger.warning("%s: its word times do not fit its transcript and are left out", utt)
    return ""


def hold_out(utterances: list[Utterance], count: int, seed: int) -> tuple[list[Utterance], list[Utterance]]:
    """Split off whole speakers, chosen by `seed`, until they have at least `count` utterances.

    Returns:
        The utterances of the speakers that stay, and those of the speakers held out.

    Raises:
        RecipeError: `count` is not positive, or no speaker would stay.
    """
    if count < 1:
        raise RecipeError("a dev set needs the number of its utterances (--dev_utts)")
    per_spk = Counter(utterance.spk for utterance in utterances)
    speakers = sorted(per_spk)
    random.Random(seed).shuffle(speakers)
    held: set[str] = set()
    held_utts = 0
    while held_utts < count and len(held) < len(speakers):
        spk = speakers[len(held)]
        held.add(spk)
        held_utts += per_spk[spk]
    if len(held) == len(speakers):
        raise RecipeError(
            f"holding out {count} utterances by speaker leaves none of the {len(speakers)} speakers for training; "
            "take fewer, or give a dev set of its own"
        )
    logger.info("held out %d speakers with %d utterances as dev set", len(held), held_utts)
    stay = [utterance for utterance in utterances if utterance.spk not in held]
    return stay, [utterance for utterance in utterances if utterance.spk in held]


def spread_over_speakers(utterances: list[Utterance], seed: int) -> list[Utterance]:
    """Order utterances so that any first part of them takes from all speakers in turn, at random within each."""
    generator = random.Random(seed)
    per_spk: dict[str, list[Utterance]] = {}
    for utterance in utterances:
        per_spk.setdefault(utterance.spk, []).append(utterance)
    turns = []
    for spk in per_spk.values():
        generator.shuffle(spk)
        turns.extend((turn, generator.random(), utterance) for turn, utterance in enumerate(spk))
    return [utterance for _, _, utterance in sorted(turns, key=lambda entry: entry[:2])]


def check_audio(
    utterances: list[Utterance], what: str, hours: float | None = None, utts: int | None = None
) -> list[tuple[Utterance, float]]:
    """Decode audio in the order given until there is enough of it.

    Returns:
        The usable utterances with their lengths in seconds.

    Raises:
        RecipeError: none is usable.
    """
    skipped = Skipped(what)
    checked: list[tuple[Utterance, float]] = []
    seconds = 0.0
    with ThreadPoolExecutor(READERS) as pool:
        for utterance, length in progress(_lengths(utterances, pool), what, utts or len(utterances)):
            if isinstance(length, UtteranceError):
                skipped.add(utterance.utt, length)
                continue
            checked.append((utterance, length))
            seconds += length
            if seconds >= (hours or float("inf")) * 3600 or len(checked) == utts:
                break
    skipped.report(len(checked) + len(skipped))
    if seconds < (hours or 0) * 3600 or len(checked) < (utts or 0):
        logger.warning("the corpus has less than was asked for: %d utterances, %.2f h", len(checked), seconds / 3600)
    return checked


def _lengths(
    utterances: list[Utterance], pool: ThreadPoolExecutor
) -> Iterator[tuple[Utterance, float | UtteranceError]]:
    """Yield each utterance with its length or what is wrong with it, reading only a little ahead."""
    for start in range(0, len(utterances), READ_AHEAD):
        block = utterances[start : start + READ_AHEAD]
        yield from zip(block, pool.map(_length, block), strict=True)


def _length(utterance: Utterance) -> float | UtteranceError:
    """Length in seconds, or what is wrong with the audio."""
    try:
        samples, rate = read_audio(str(utterance.path))
    except UtteranceError as error:
        return error
    seconds = len(samples) / rate
    if seconds > MAX_SECONDS:
        return UtteranceError(f"{utterance.path} lasts {seconds:.1f} s; Whisper takes at most {MAX_SECONDS:.0f} s")
    return seconds


def write_data_dir(data_dir: str | Path, utterances: list[tuple[Utterance, float]]) -> None:
    """Write the tables of a data directory, `wav.scp` to `data.jsonl`, each atomically.

    Where the directory held other utterances before, what later stages made of them (`utt2s3`, `feats_*.scp` …) is
    moved into `.backup`, so that it cannot be taken for these utterances'.

    Args:
        data_dir: the directory, made if need be.
        utterances: in any order, each with its length in seconds.
    """
    data_dir = Path(data_dir)
    utterances = sorted(utterances, key=lambda entry: entry[0].utt.encode())
    spk2utt: dict[str, list[str]] = {}
    for utterance, _ in utterances:
        spk2utt.setdefault(utterance.spk, []).append(utterance.utt)
    words = {utterance.utt: utterance.words for utterance, _ in utterances if utterance.words}
    utt2dur = {utterance.utt: f"{seconds:.4f}" for utterance, seconds in utterances}
    if (data_dir / "utt2dur").exists() and read_table(data_dir / "utt2dur") != utt2dur:
        _set_aside_later_tables(data_dir)
    write_table(data_dir / "wav.scp", {utterance.utt: str(utterance.path) for utterance, _ in utterances})
    write_table(data_dir / "text", {utterance.utt: utterance.text for utterance, _ in utterances})
    write_table(data_dir / "utt2spk", {utterance.utt: utterance.spk for utterance, _ in utterances})
    write_table(data_dir / "spk2utt", {spk: " ".join(utts) for spk, utts in spk2utt.items()})
    write_table(data_dir / "utt2dur", utt2dur)
    if words:
        write_table(data_dir / "utt2words", words)
    else:
        (data_dir / "utt2words").unlink(missing_ok=True)
    with atomic_path(data_dir / "data.jsonl") as partial, open(partial, "w", encoding="utf-8") as stream:
        for utterance, seconds in utterances:
            entry = {
                "utt": utterance.utt,
                "spk": utterance.spk,
                "audio_path": str(utterance.path),
                "text": utterance.text,
                "duration": round(seconds, 4),
            }
            stream.write(json.dumps(entry, ensure_ascii=False) + "\n")
    hours = sum(seconds for _, seconds in utterances) / 3600
    logger.info("%s: %d utterances of %d speakers, %.2f h", data_dir, len(utterances), len(spk2utt), hours)


def _set_aside_later_tables(data_dir: Path) -> None:
    """Move into `.backup` what stage 1 does not write itself."""
    later = [path for path in [*tables(data_dir), *map(data_dir.joinpath, RECORDS)] if path.name not in TABLES]
    later = [path for path in later if path.exists()]
    for path in later:
        back_up(path)
        path.unlink()
    for name in links(data_dir):
        (data_dir / name).unlink()
    if later:
        names = ", ".join(path.name for path in later)
        logger.info("%s held other utterances before; of those, .backup keeps %s", data_dir, names)
