"""Copies of data directories under other names of utterances and speakers (`utils/copy_data_dir.sh`)."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from taste.data_dir import (
    RECORDS,
    back_up,
    kind_of,
    line_blocks,
    links,
    read_utt2spk,
    require_data_dir,
    spk2utt_lines,
    tables,
    utt2spk_to_spk2utt,
    write_lines,
)
from taste.data_dir_parts import copy_records_and_links
from taste.errors import RecipeError
from taste.files import atomic_path

logger = logging.getLogger(__name__)

REFERENCES = ("stm", "glm", "ctm")  # for scoring with sclite; by recording, or of no id at all


@dataclass(frozen=True)
class Renaming:
    """What comes before and behind each id."""

    prefix: bytes = b""
    suffix: bytes = b""

    def __bool__(self) -> bool:
        return bool(self.prefix or self.suffix)

    def new_id(self, key: bytes) -> bytes:
        """The new name of `key`."""
        return self.prefix + key + self.suffix

    def rename(self, lines: Iterable[bytes], field: int = 1) -> list[bytes]:
        """The lines with the id in their first (or second) `field` renamed."""
        if not self:
            return list(lines)
        renamed = []
        for line in lines:
            fields = line.split(None, field)
            fields[field - 1] = self.new_id(fields[field - 1])
            renamed.append(b" ".join(fields))
        return renamed


@dataclass(frozen=True)
class Renamings:
    """How the utterances, speakers and recordings of a directory are renamed."""

    utt: Renaming
    spk: Renaming
    reco: Renaming

    def of_table(self, name: str, lines: list[bytes]) -> list[bytes]:
        """The lines of the table `name` with new names."""
        if name == "data.jsonl":
            return [self._of_json(line) for line in lines]
        lines = getattr(self, kind_of(name) or "utt").rename(lines)
        if name == "utt2spk":
            return self.spk.rename(lines, field=2)
        return self.reco.rename(lines, field=2) if name == "segments" else lines

    def _of_json(self, line: bytes) -> bytes:
        record = json.loads(line)
        record["utt"] = self.utt.new_id(record["utt"].encode()).decode()
        if "spk" in record:
            record["spk"] = self.spk.new_id(record["spk"].encode()).decode()
        return json.dumps(record, ensure_ascii=False).encode()


def copy_data_dir(
    data_dir: str | Path, dest_dir: str | Path, utt: Renaming = Renaming(), spk: Renaming = Renaming()
) -> None:
    """Copy a data directory, its records and links, under new names, as Kaldi's `copy_data_dir.sh` does.

    Recordings keep their names where there are `segments`. Where utterances are renamed, `utt2uniq` tells the old
    names. What else the copy's directory held goes to its `.backup`.

    Args:
        data_dir: the directory.
        dest_dir: that of the copy.
        utt: how utterances are renamed.
        spk: how speakers are renamed.

    Raises:
        RecipeError: a directory that is none, both are the same, or an id is missing.
    """
    data_dir, dest_dir = require_other_dir(data_dir, dest_dir), Path(dest_dir)
    renamings = Renamings(utt, spk, Renaming() if (data_dir / "segments").is_file() else utt)
    write_renamed(data_dir, dest_dir, renamings)
    copy_records_and_links(data_dir, dest_dir)
    copied = [name for name in RECORDS if (data_dir / name).is_file()]
    for name in REFERENCES:
        if (data_dir / name).is_file():
            with atomic_path(dest_dir / name) as partial:
                shutil.copyfile(data_dir / name, partial)
    set_aside_others(dest_dir, [path.name for path in tables(data_dir)] + [*links(data_dir), *copied, "utt2uniq"])


def require_other_dir(data_dir: str | Path, dest_dir: str | Path) -> Path:
    """Return `data_dir` if it is a data directory, and `dest_dir` another place.

    Raises:
        RecipeError: it is not.
    """
    data_dir = require_data_dir(data_dir)
    if Path(dest_dir).resolve() == data_dir.resolve():
        raise RecipeError(f"{data_dir} is both source and destination; name another directory to write")
    return data_dir


def write_renamed(
    data_dir: Path,
    dest_dir: Path,
    renamings: Renamings,
    change: Callable[[str, list[bytes]], list[bytes]] = lambda _, lines: lines,
    left_out: Collection[str] = (),
) -> None:
    """Write the tables of a directory under new names and sorted; `utt2spk` comes last.

    Args:
        data_dir: the directory.
        dest_dir: where the tables are written.
        renamings: how the ids are renamed.
        change: from the name of a table and some of its lines, already renamed, the lines to write.
        left_out: the names of tables that are not written.
    """
    utts, spks = read_utt2spk(data_dir / "utt2spk")
    new_utts, new_spks = map(renamings.utt.new_id, utts), map(renamings.spk.new_id, spks)
    spk2utt = utt2spk_to_spk2utt(*zip(*sorted(zip(new_utts, new_spks, strict=True)), strict=True))
    write_sorted(dest_dir / "spk2utt", spk2utt_lines(spk2utt))
    if renamings.utt and not (data_dir / "utt2uniq").is_file():
        write_sorted(dest_dir / "utt2uniq", (b"%b %b" % (renamings.utt.new_id(utt), utt) for utt in utts))
    for path in sorted(tables(data_dir), key=lambda path: path.name == "utt2spk"):
        if path.name == "spk2utt" or path.name in left_out:
            continue
        lines: list[bytes] = []
        for block in line_blocks(path):
            try:
                lines += change(path.name, renamings.of_table(path.name, block))
            except (IndexError, ValueError, KeyError, TypeError) as error:
                raise RecipeError(f"{path} is malformed; utils/validate_data_dir.sh names the line") from error
        write_sorted(dest_dir / path.name, lines)


def write_sorted(path: Path, lines: Iterable[bytes]) -> None:
    """Write a table, sorted by id."""
    with atomic_path(path) as partial, open(partial, "wb") as stream:
        write_lines(stream, sorted(lines))


def set_aside_others(data_dir: Path, names: Collection[str]) -> None:
    """Move the tables and records of a directory to its `.backup`, but for `names`."""
    kept = {*names, "utt2spk", "spk2utt"}
    for name in links(data_dir):
        if name not in kept:
            (data_dir / name).unlink()
    others = [*tables(data_dir), *(path for path in map(data_dir.joinpath, RECORDS) if path.is_file())]
    for path in others:
        if path.name not in kept:
            back_up(path)
            path.unlink()
            logger.info("%s is not from the source; it is in %s now", path, path.parent / ".backup")
