"""Stage 12: the original recordings, the topline and the systems, scored by their waveforms."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from taste.errors import RecipeError, Skipped
from taste.files import read_json, require, write_json, write_json_lines
from taste.parallel import in_processes
from taste.progress import progress
from taste.provenance import commit
from taste.reconstruction import TOPLINE
from taste.scores.definitions import DEFINITIONS, Value, of_the_set, summarize
from taste.scores.listening import (
    Heard,
    Hearing,
    Listener,
    own_values,
    read_waveform,
    values_against,
    values_in_time,
)
from taste.scores.quality import PESQ_MISSING
from taste.scores.speaker_similarity import conditioning_encoder, load_other_encoder
from taste.scores.table import ORIGINAL, SCORES
from taste.scores.transcription import BATCH, Transcriber, is_audible
from taste.tables import read_table


@dataclass(frozen=True)
class Settings:
    """What scores depend on besides the waveforms.

    Attributes:
        whisper: the model that listens.
        utts: of each set, evenly drawn over its speakers; None for all.
        seed: of the drawing and of the bootstrap.
    """

    whisper: str
    utts: int | None
    seed: int


def score_systems(
    exp_dir: Path, systems: Sequence[str], data_dirs: Sequence[Path], pretrained_dir: Path, cosyvoice_dir: Path | None,
    settings: Settings, command: str, device: torch.device, jobs: int = 1,
) -> dict[str, Any]:  # fmt: skip
    """Score waveforms, and write `exp_dir/scores.json` and `exp_dir/<row>/scores/<set>.jsonl`.

    The rows are the original recordings, the topline and the systems; utterances that one of them lacks, or whose
    original cannot be read or is silent, are named, counted and left out there. A waveform that is silent or holds no
    speech counts as one in which no word was heard, and has no other score.

    Args:
        systems: names of systems with waveforms of stage 11.
        data_dirs: the test sets.
        cosyvoice_dir: with CosyVoice-300M's speaker encoder, where there is one.
        command: what makes these scores, to be quoted.
        device: of Whisper.
        jobs: processes that listen, as in `in_processes`.

    Returns:
        The contents of `scores.json`.

    Raises:
        RecipeError: waveforms or transcripts are missing; the message says which stage makes them.
    """
    rows = [ORIGINAL, TOPLINE, *systems]
    sources = {data_dir.name: {row: wav_scp(exp_dir, row, data_dir) for row in rows} for data_dir in data_dirs}
    conditioning = conditioning_encoder(data_dirs[0])
    missing: dict[str, str | None] = {"pesq": PESQ_MISSING}
    if not (exp_dir / "results.json").exists():
        missing["bits_per_second"] = f"{exp_dir / 'results.json'} does not exist; stage 10 makes it"
    names = {"whisper": settings.whisper, "conditioning": conditioning["backend"]}
    load_encoder = partial(load_other_encoder, conditioning, pretrained_dir, cosyvoice_dir)
    try:
        names["speaker"] = load_encoder().record["backend"]
    except RecipeError as error:
        names["speaker"] = "another encoder"
        missing["speaker_similarity"] = str(error)
        load_encoder = None
    listener = Listener(partial(Transcriber, settings.whisper, pretrained_dir, device), load_encoder)
    batches = [in_batches(data_dir, sources[data_dir.name], settings) for data_dir in data_dirs]
    hearings = in_processes(listener.hear, [batch for of_set in batches for _, batch in of_set], jobs)
    found: dict[str, Any] = {}
    for data_dir, of_set in zip(data_dirs, batches, strict=True):
        pairs = progress(((row, next(hearings)) for row, _ in of_set), f"scores of {data_dir}", len(of_set), "batch")
        values = score_set(exp_dir, data_dir, rows, sources[data_dir.name][ORIGINAL], pairs)
        found[data_dir.name] = {
            row: {
                name: figure(name, list(each.values()), settings.seed) or set_figure(name, exp_dir, row, data_dir, each)
                for name in DEFINITIONS
            }
            for row, each in values.items()
        }
    scores = {
        name: {
            "title": each.title,
            "unit": each.unit,
            "better": each.better,
            "how": each.how.format(**names),
            "missing": missing.get(name),
        }
        for name, each in DEFINITIONS.items()
    }
    made_by = {"command": command, "commit": commit(), "settings": asdict(settings)}
    result = {**made_by, "scores": scores, "sets": found}
    write_json(exp_dir / SCORES, result)
    return result


def wav_scp(exp_dir: Path, row: str, data_dir: Path) -> dict[str, str]:
    """The waveforms of a row.

    Raises:
        RecipeError: there are none, with the stage that makes them.
    """
    if row == ORIGINAL:
        return read_table(data_dir / "wav.scp", "stage 1")
    folder = exp_dir / row / "wav" / data_dir.name
    require(folder / "wav.json", "stage 11")
    return read_table(folder / "wav.scp", "stage 11")


def choose(utt2spk: Mapping[str, str], number: int | None, seed: int) -> list[str]:
    """Draw `number` utterances, as many of each speaker as of any other, or one less or more; None: all, sorted."""
    utts = sorted(utt2spk)
    if number is None or number >= len(utts):
        return utts
    random.Random(seed).shuffle(utts)
    turns: dict[str, int] = {}
    turn_of = {}
    for utt in utts:
        turn_of[utt] = turns[utt2spk[utt]] = turns.get(utt2spk[utt], 0) + 1
    return sorted(sorted(utts, key=turn_of.__getitem__)[:number])


def in_batches(
    data_dir: Path, sources: Mapping[str, Mapping[str, str]], settings: Settings
) -> list[tuple[str, dict[str, str | None]]]:
    """What is to be listened to, row by row: of each batch the row and its utterances' files, None of missing ones."""
    utt2spk, texts = (read_table(data_dir / name, "stage 1") for name in ("utt2spk", "text"))
    utts = choose({utt: spk for utt, spk in utt2spk.items() if utt in texts}, settings.utts, settings.seed)
    return [
        (row, {utt: files.get(utt) for utt in utts[start : start + BATCH]})
        for row, files in sources.items()
        for start in range(0, len(utts), BATCH)
    ]


def score_set(
    exp_dir: Path, data_dir: Path, rows: Sequence[str], recordings: Mapping[str, str],
    hearings: Iterable[tuple[str, Hearing]],
) -> dict[str, dict[str, dict[str, Value]]]:  # fmt: skip
    """Score a set: row -> utterance -> name of the score -> value and weight. Writes `<row>/scores/<set>.jsonl`.

    Args:
        recordings: files of the originals.
        hearings: with the row of each, the originals first.
    """
    texts = read_table(data_dir / "text", "stage 1")
    originals: dict[str, Heard] = {}
    found: dict[str, dict[str, dict[str, Value]]] = {row: {} for row in rows}
    records: dict[str, list[dict[str, Any]]] = {row: [] for row in rows}
    skipped = {row: Skipped(f"scores of {row} on {data_dir.name}") for row in rows}
    for row, hearing in hearings:
        for utt, fault in hearing.faults.items():
            skipped[row].add(utt, fault)
        for utt, (samples, heard) in hearing.heard.items():
            if row == ORIGINAL and not is_audible(samples):
                skipped[row].add(utt, "the recording is silent")
                continue
            if row == ORIGINAL:
                originals[utt] = heard
            if utt not in originals:
                continue
            values = own_values(texts[utt], heard)
            if row != ORIGINAL:
                values |= values_against(originals[utt], heard)
            if row == TOPLINE:
                values |= values_in_time(utt, read_waveform(recordings[utt]), samples)
            found[row][utt] = values
            records[row].append(utterance_record(utt, heard, values))
    for row in rows:
        skipped[row].report(len(records[row]) + len(skipped[row].reasons))
        write_json_lines(exp_dir / row / "scores" / f"{data_dir.name}.jsonl", records[row])
    return found


def utterance_record(utt: str, heard: Heard, values: Mapping[str, Value]) -> dict[str, Any]:
    """A line of `scores/<set>.jsonl`: what was heard, word by word with times in seconds, and the scores."""
    return {
        "utt": utt,
        "text": heard.transcript.text,
        "words": [[word.word, round(word.start, 2), round(word.end, 2)] for word in heard.transcript.words],
        "scores": {name: value for name, (value, _) in values.items()},
        "weights": {name: weight for name, (_, weight) in values.items() if weight != 1},
    }


def figure(name: str, utterances: Sequence[Mapping[str, Value]], seed: int) -> dict[str, Any] | None:
    """A score of a row, from its utterances."""
    return summarize([values[name] for values in utterances if name in values], seed)


def set_figure(
    name: str, exp_dir: Path, row: str, data_dir: Path, utterances: Mapping[str, Any]
) -> dict[str, Any] | None:
    """A score of a row that is known of the set as a whole, None where it has none."""
    if row == ORIGINAL:
        return None
    if name == "real_time_factor":
        record = read_json(exp_dir / row / "wav" / data_dir.name / "wav.json", "stage 11")
        return (
            of_the_set(record["seconds"] / record["audio_seconds"], len(utterances))
            if record["audio_seconds"]
            else None
        )
    if name == "bits_per_second" and (exp_dir / "results.json").exists():
        results = read_json(exp_dir / "results.json", "stage 10")
        if row == TOPLINE:
            return of_the_set(results["units"]["rate"] * math.log2(results["units"]["K"]), len(utterances))
        tokens = results["systems"].get(row, {}).get(data_dir.name, {}).get("tokens")
        return of_the_set(tokens["bits_per_second"], len(utterances)) if tokens else None
    return None
