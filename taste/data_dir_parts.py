"""Parts of data directories: each a data directory with some of the utterances."""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Iterable, Mapping, Sequence
from itertools import compress
from pathlib import Path
from typing import TypeAlias

from taste.data_dir import (
    PARTIAL,
    RECORDS,
    keyed_lines,
    kind_of,
    links,
    second_fields,
    spk2utt_lines,
    tables,
    utt2spk_to_spk2utt,
    write_lines,
)
from taste.files import atomic_path

logger = logging.getLogger(__name__)

PartsOf: TypeAlias = "dict[bytes, tuple[int, ...]]"  # the parts that each id is in


def write_parts(
    data_dir: Path, utt2spk: Mapping[bytes, bytes], parts: Sequence[Sequence[bytes]], part_dirs: Sequence[Path]
) -> None:
    """Write data directories that each hold some utterances of another: lines as they are and in their order.

    Records are copied, links between tables stay links, and utterances that a table lacks are counted in a warning.
    Every file appears under its name when it is complete, and `utt2spk` comes last: while it is older than its
    source, the parts are not finished.

    Args:
        data_dir: the directory to part.
        utt2spk: its `utt2spk`.
        parts: the utterances of each part; an utterance is in one part at most.
        part_dirs: the directories to write.
    """
    of_utts: PartsOf = dict.fromkeys(utt2spk, ())
    of_spks: PartsOf = {}
    for index, (utts, directory) in enumerate(zip(parts, part_dirs, strict=True)):
        of_utts |= dict.fromkeys(utts, (index,))
        spk2utt = utt2spk_to_spk2utt(utt2spk, utts)
        _add(of_spks, spk2utt, (index,))
        copy_records_and_links(data_dir, directory)
        with atomic_path(directory / "spk2utt") as partial, open(partial, "wb") as stream:
            write_lines(stream, spk2utt_lines(spk2utt))
    parts_of = {"utt": of_utts, "spk": of_spks, "reco": _parts_of_recordings(data_dir, of_utts)}
    for path in sorted(tables(data_dir), key=lambda path: path.name == "utt2spk"):
        if path.name == "spk2utt":
            continue
        kind = kind_of(path.name) or "utt"
        found, expected = _distribute(path, parts_of[kind], part_dirs), sum(map(bool, parts_of[kind].values()))
        if found < expected and kind != "spk" and path.name not in PARTIAL:
            logger.warning(
                "%s has only %d of %d utterances; utils/fix_data_dir.sh %s leaves out the others everywhere",
                *(path, found, expected, data_dir),
            )


def _add(parts_of: PartsOf, owners: Iterable[bytes], parts: tuple[int, ...]) -> None:
    """Add parts to those of speakers or recordings, which may be in several."""
    for owner in owners:
        parts_of[owner] = tuple(sorted({*parts_of.get(owner, ()), *parts}))


def _parts_of_recordings(data_dir: Path, of_utts: PartsOf) -> PartsOf:
    segments = data_dir / "segments"
    if not segments.is_file():
        return of_utts
    of_recordings: PartsOf = {}
    for utt, recording in second_fields(segments).items():
        _add(of_recordings, [recording], of_utts.get(utt, ()))
    return of_recordings


def _distribute(path: Path, parts_of: PartsOf, part_dirs: Sequence[Path]) -> int:
    """Write each line of `path` to the parts of its id; returns how many lines belong to a part."""
    found = 0
    with contextlib.ExitStack() as stack:
        outputs = [stack.enter_context(atomic_path(directory / path.name)) for directory in part_dirs]
        for output in outputs:
            output.touch()
        ids, parts, position = list(parts_of), list(parts_of.values()), 0
        for keys, lines in keyed_lines(path):
            here = slice(position, position + len(keys))
            in_step = keys == ids[here]  # with utt2spk, as nearly always, which saves a million look-ups
            indices = parts[here] if in_step else [parts_of.get(key, ()) for key in keys]
            position += len(keys)
            found += sum(map(bool, indices))
            for index, chosen in _chosen_lines(indices, lines).items():
                with open(outputs[index], "ab") as stream:
                    write_lines(stream, chosen)
    return found


def _chosen_lines(indices: list[tuple[int, ...]], lines: list[bytes]) -> dict[int, list[bytes]]:
    """The lines of each part, given the parts of each line."""
    distinct = set(indices) - {()}
    if len(distinct) <= 1:  # the common case, as files are sorted and parts are ranges of them
        chosen = list(compress(lines, indices))
        return dict.fromkeys(*distinct, chosen) if distinct else {}
    collected: dict[int, list[bytes]] = {}
    for line_indices, line in zip(indices, lines, strict=True):
        for index in line_indices:
            collected.setdefault(index, []).append(line)
    return collected


def copy_records_and_links(data_dir: Path, directory: Path) -> None:
    """Copy what goes with the tables unchanged, and make the links between tables anew."""
    for name in RECORDS:
        if (data_dir / name).is_file():
            with atomic_path(directory / name) as partial:
                shutil.copyfile(data_dir / name, partial)
    for name, target in links(data_dir).items():
        with atomic_path(directory / name) as partial:
            partial.symlink_to(target)
