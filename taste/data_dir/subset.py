"""Data directories with some of the utterances of another (`utils/subset_data_dir.sh`)."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from taste.data_dir.contents import keyed_lines, read_utt2spk, require_data_dir, second_fields, show, utt2spk_to_spk2utt
from taste.data_dir.parts import write_parts
from taste.errors import RecipeError

logger = logging.getLogger(__name__)

WAYS = ("spread", "first", "last", "shortest", "speakers", "per_spk")
SPEAKER_SEED = 0


def subset_by_number(data_dir: str | Path, number: int, dest_dir: str | Path, way: str = "spread") -> tuple[int, int]:
    """Write a data directory with a number of the utterances of another, chosen as Kaldi's `subset_data_dir.sh` does.

    Args:
        data_dir: the directory to choose from.
        number: of utterances.
        dest_dir: the directory to write.
        way: "spread" evenly over the directory; the "first", the "last" or the "shortest" (by `utt2num_frames` or
            `utt2dur`); of random whole "speakers" until there are enough; or that many of each speaker, "per_spk".

    Returns:
        The numbers of utterances of both directories.

    Raises:
        RecipeError: the directory has fewer utterances, or no durations where they are needed.
    """
    data_dir = require_data_dir(data_dir)
    utts, spks = read_utt2spk(data_dir / "utt2spk")
    if number > len(utts):
        raise RecipeError(f"{data_dir} has {len(utts)} utterances; {number} cannot be chosen from them")
    if way == "first":
        positions: Sequence[int] = range(number)
    elif way == "last":
        positions = range(len(utts) - number, len(utts))
    elif way == "spread":
        positions = spread(len(utts), number)
    elif way == "shortest":
        positions = _positions(utts, _shortest(data_dir, number))
    else:
        choose = {"speakers": _of_whole_speakers, "per_spk": _of_each_speaker}[way]
        positions = _positions(utts, choose(utt2spk_to_spk2utt(utts, spks), number))
    return _write_subset(data_dir, utts, spks, positions, dest_dir)


def subset_by_list(data_dir: str | Path, id_list: str | Path, dest_dir: str | Path, of: str) -> tuple[int, int]:
    """Write a data directory with the utterances, or of the speakers, that a list names.

    Args:
        data_dir: the directory to choose from.
        id_list: a file whose lines begin with ids; those that are not in the directory are counted in a warning.
        dest_dir: the directory to write.
        of: "utt" or "spk", what the ids are of.

    Returns:
        The numbers of utterances of both directories.

    Raises:
        RecipeError: none of the ids is in the directory.
    """
    data_dir = require_data_dir(data_dir)
    utts, spks = read_utt2spk(data_dir / "utt2spk")
    wanted = {key for keys, _ in keyed_lines(Path(id_list)) for key in keys}
    unknown = wanted.difference(utts if of == "utt" else spks)
    if len(unknown) == len(wanted):
        raise RecipeError(f"none of the {len(wanted)} ids of {id_list} is in {data_dir}")
    if unknown:
        logger.warning("%d ids of %s are not in %s, such as %s", len(unknown), id_list, data_dir, show(min(unknown)))
    return _write_subset(data_dir, utts, spks, _positions(utts if of == "utt" else spks, wanted), dest_dir)


def _positions(ids: Sequence[bytes], chosen: Iterable[bytes]) -> list[int]:
    wanted = set(chosen)
    return [position for position, key in enumerate(ids) if key in wanted]


def _write_subset(
    data_dir: Path, utts: list[bytes], spks: list[bytes], positions: Sequence[int], dest_dir: str | Path
) -> tuple[int, int]:
    dest_dir = Path(dest_dir)
    if dest_dir.resolve() == data_dir.resolve():
        raise RecipeError(f"the subset of {data_dir} needs another directory than {data_dir} itself")
    write_parts(data_dir, utts, spks, [positions], [dest_dir])
    return len(utts), len(positions)


@cache  # the halves of a half are as long as those of the other, or longer by one
def spread(total: int, number: int) -> list[int]:
    """Choose `number` of `total` positions evenly: the first half gives half of them, the second the odd one as well.

    This gives the choice of Kaldi's `subset_scp.pl`.
    """
    if number in (0, total):
        return list(range(number))
    first = total // 2
    rest = spread(total - first, number - number // 2)
    return spread(first, number // 2) + [first + position for position in rest]


def _of_whole_speakers(spk2utt: dict[bytes, list[bytes]], number: int) -> list[bytes]:
    speakers = list(spk2utt)
    random.Random(SPEAKER_SEED).shuffle(speakers)
    chosen: list[bytes] = []
    for spk in speakers:
        if len(chosen) >= number:
            break
        chosen += spk2utt[spk]
    return chosen


def _of_each_speaker(spk2utt: dict[bytes, list[bytes]], number: int) -> list[bytes]:
    """Every n-th utterance of a speaker, n as large as their number allows, as Kaldi does."""
    chosen: list[bytes] = []
    for utts in spk2utt.values():
        step = max(1, len(utts) // number)
        chosen += utts[: number * step : step]
    return chosen


def _shortest(data_dir: Path, number: int) -> list[bytes]:
    path = next((data_dir / name for name in ("utt2num_frames", "utt2dur") if (data_dir / name).is_file()), None)
    if path is None:
        raise RecipeError(f"{data_dir} has neither utt2num_frames nor utt2dur, from which the shortest could be told")
    lengths = second_fields(path)
    try:
        return sorted(lengths, key=lambda utt: (float(lengths[utt]), utt))[:number]
    except ValueError as error:
        raise RecipeError(f"{path} holds a length that is no number; utils/validate_data_dir.sh names it") from error
