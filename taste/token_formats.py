"""Tokens of recordings as files: JSON lines, Kaldi's tables, numpy's archives."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from taste.errors import RecipeError
from taste.files import atomic_path, require, write_json_lines
from taste.speech_tokens import SpeechTokens
from taste.tables import write_table
from taste.taste_tokens import write_tokens


def write_jsonl(path: Path, tokens: Sequence[SpeechTokens], system_dir: Path, sizes: list[int]) -> None:
    """Write one line of JSON a recording, see `SpeechTokens.record`."""
    write_json_lines(path, (each.record() for each in tokens))


def read_jsonl(path: Path) -> list[SpeechTokens]:
    """Read what `write_jsonl` wrote.

    Raises:
        RecipeError: the file is missing or another, with the line.
    """
    read = []
    for number, line in enumerate(require(path, "`python -m taste tokenize`").read_text("utf-8").splitlines(), start=1):
        try:
            record = json.loads(line)
        except ValueError as error:
            raise RecipeError(f"{path}:{number} is no JSON ({error})") from error
        read.append(SpeechTokens.from_record(record, f"{path}:{number}"))
    return read


def write_kaldi(folder: Path, tokens: Sequence[SpeechTokens], system_dir: Path, sizes: list[int]) -> None:
    """Write `utt2taste` with `taste.json`, `text`, `utt2token`, `utt2word_tokens` and `utt2words`, as in a recipe.

    Args:
        system_dir: of the system whose tokens they are.
        sizes: entries of each of its codebooks.
    """
    by_utt = {"_".join(each.utt.split()): each for each in tokens}  # an id cannot hold a space
    write_tokens(folder, {utt: each.codes for utt, each in by_utt.items()}, system_dir, sizes)
    write_table(folder / "text", {utt: each.text for utt, each in by_utt.items()})
    write_table(folder / "utt2token", {utt: _numbers(each.ids) for utt, each in by_utt.items()})
    write_table(folder / "utt2word_tokens", {utt: _numbers(each.word_tokens) for utt, each in by_utt.items()})
    write_table(folder / "utt2words", {utt: _timed_words(each) for utt, each in by_utt.items()})


def write_npz(folder: Path, tokens: Sequence[SpeechTokens], system_dir: Path, sizes: list[int]) -> None:
    """Write `<utt>.npz` of each recording, with the attributes of `SpeechTokens` as arrays."""
    for each in tokens:
        arrays = {name: np.asarray(value) for name, value in vars(each).items() if value is not None}
        with atomic_path(folder / f"{each.utt}.npz") as partial, open(partial, "wb") as stream:
            np.savez(stream, **arrays)


FORMATS: dict[str, Callable[[Path, Sequence[SpeechTokens], Path, list[int]], None]] = {
    "jsonl": write_jsonl,
    "kaldi": write_kaldi,
    "npz": write_npz,
}


def _numbers(values: Sequence[int] | np.ndarray) -> str:
    return " ".join(map(str, values))


def _timed_words(tokens: SpeechTokens) -> str:
    times = zip(tokens.words, tokens.word_times, strict=True)
    return " ".join(f"{word} {start:.2f} {end:.2f}" for word, (start, end) in times)
