"""Parts of data directories: each a data directory with some of the utterances."""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import compress
from pathlib import Path

from taste.data_dir.contents import (
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


@dataclass
class PartsOfIds:
    """To which parts the lines of utterances, speakers or recordings go.

    Attributes:
        ids: the ids, in the order in which tables are expected to have them.
        parts: the parts of each.
    """

    ids: Sequence[bytes]
    parts: Sequence[tuple[int, ...]]

    @cached_property
    def _by_id(self) -> dict[bytes, tuple[int, ...]]:
        return dict(zip(self.ids, self.parts, strict=True))

    def of(self, ids: Sequence[bytes], position: int) -> Sequence[tuple[int, ...]]:
        """The parts of each of `ids`, which stand behind `position` others in their file."""
        expected = slice(position, position + len(ids))
        if ids == self.ids[expected]:  # as in utt2spk, which saves a million look-ups
            return self.parts[expected]
        return [self._by_id.get(key, ()) for key in ids]


def write_parts(
    data_dir: Path,
    utts: Sequence[bytes],
    spks: Sequence[bytes],
    parts: Sequence[Sequence[int]],
    part_dirs: Sequence[Path],
) -> None:
    """Write data directories that each hold some utterances of another: lines as they are and in their order.

    Records are copied, links between tables stay links, and utterances that a table lacks are counted in a warning.
    The tables appear under their names together, when all are complete, and `utt2spk` comes last.

    Args:
        data_dir: the directory to part.
        utts: the utterances of its `utt2spk`.
        spks: the speaker of each.
        parts: the positions in `utts` of each part's utterances; an utterance is in one part at most.
        part_dirs: the directories to write.
    """
    indices: list[tuple[int, ...]] = [()] * len(utts)
    speakers: list[tuple[bytes, tuple[int, ...]]] = []
    for index, positions in enumerate(parts):
        part = (index,)
        for position in positions:
            indices[position] = part
        speakers += ((spk, part) for spk in {spks[position] for position in positions})
    of_utts = PartsOfIds(utts, indices)
    parts_of = {"utt": of_utts, "spk": _parts_of_owners(speakers), "reco": _parts_of_recordings(data_dir, of_utts)}
    with contextlib.ExitStack() as files:
        for path in sorted(tables(data_dir), key=lambda path: path.name != "utt2spk"):  # the first gets its name last
            if path.name != "spk2utt":
                outputs = [files.enter_context(atomic_path(directory / path.name)) for directory in part_dirs]
                _distribute(path, parts_of[kind_of(path.name) or "utt"], outputs)
        for positions, directory in zip(parts, part_dirs, strict=True):
            chosen = ([column[position] for position in positions] for column in (utts, spks))
            with open(files.enter_context(atomic_path(directory / "spk2utt")), "wb") as stream:
                write_lines(stream, spk2utt_lines(utt2spk_to_spk2utt(*chosen)))
    for directory in part_dirs:
        copy_records_and_links(data_dir, directory)


def _parts_of_owners(pairs: Iterable[tuple[bytes, tuple[int, ...]]]) -> PartsOfIds:
    """The parts of speakers or recordings from those of their utterances."""
    parts_of: dict[bytes, set[int]] = {}
    for owner, parts in pairs:
        parts_of.setdefault(owner, set()).update(parts)
    return PartsOfIds(list(parts_of), [tuple(sorted(parts)) for parts in parts_of.values()])


def _parts_of_recordings(data_dir: Path, of_utts: PartsOfIds) -> PartsOfIds:
    segments = data_dir / "segments"
    if not segments.is_file():
        return of_utts
    utt2reco = second_fields(segments)
    return _parts_of_owners(zip(utt2reco.values(), of_utts.of(list(utt2reco), 0), strict=True))


def _distribute(path: Path, parts_of: PartsOfIds, outputs: Sequence[Path]) -> None:
    """Write each line of `path` to the outputs of the parts of its id."""
    for output in outputs:
        output.touch()
    found = position = 0
    for keys, lines in keyed_lines(path):
        indices = parts_of.of(keys, position)
        position += len(lines)
        found += sum(map(bool, indices))
        for index, chosen in _chosen_lines(indices, lines).items():
            with open(outputs[index], "ab") as stream:
                write_lines(stream, chosen)
    expected = sum(map(bool, parts_of.parts))
    if found < expected and kind_of(path.name) != "spk" and path.name not in PARTIAL:
        logger.warning(
            "%s has only %d of %d utterances; utils/fix_data_dir.sh %s leaves out the others everywhere",
            *(path, found, expected, path.parent),
        )


def _chosen_lines(indices: Sequence[tuple[int, ...]], lines: list[bytes]) -> dict[int, list[bytes]]:
    """The lines of each part, given the parts of each line."""
    distinct = set(indices) - {()}
    if len(distinct) == 1:  # the common case, as files are sorted and parts are ranges of them
        chosen = list(compress(lines, indices))
        return {index: chosen for index in distinct.pop()}
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
