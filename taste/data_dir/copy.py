"""Copies of data directories under other names of utterances and speakers (`utils/copy_data_dir.sh`)."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from taste.data_dir.contents import (
    RECORDS,
    back_up,
    blocks,
    kind_of,
    line_ids,
    links,
    new_tables,
    read_utt2spk,
    require_data_dir,
    spk2utt_lines,
    tables,
    utt2spk_to_spk2utt,
)
from taste.data_dir.parts import copy_records_and_links
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

    def rename(self, lines: Sequence[bytes], field: int = 1) -> Sequence[bytes]:
        """The lines with the id in their first (or second) `field` renamed."""
        if not self:
            return lines
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

    def of_table(self, name: str, lines: Sequence[bytes]) -> Sequence[bytes]:
        """The lines of the table `name` with new names."""
        if name == "data.jsonl":
            return [self._of_json(line) for line in lines]
        lines = {"utt": self.utt, "spk": self.spk, "reco": self.reco}[kind_of(name) or "utt"].rename(lines)
        if name == "utt2spk":
            return self.spk.rename(lines, field=2)
        return self.reco.rename(lines, field=2) if name == "segments" else lines

    def _of_json(self, line: bytes) -> bytes:
        record = json.loads(line)
        for key, renaming in (("utt", self.utt), ("spk", self.spk)):
            if key in record:
                record[key] = renaming.new_id(record[key].encode()).decode()
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
        RecipeError: a directory that is none, both are the same, or a line is malformed.
    """
    data_dir, dest_dir = require_other_dir(data_dir, dest_dir), Path(dest_dir)
    reco = Renaming() if (data_dir / "segments").is_file() else utt
    names = write_renamed(data_dir, dest_dir, Renamings(utt, spk, reco))
    copy_records_and_links(data_dir, dest_dir)
    for path in (data_dir / name for name in REFERENCES):
        if path.is_file():
            with atomic_path(dest_dir / path.name) as partial:
                shutil.copyfile(path, partial)
    records = [name for name in RECORDS if (data_dir / name).is_file()]
    set_aside_others(dest_dir, [*names, *links(data_dir), *records])


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
    change: Callable[[str, Sequence[bytes]], Sequence[bytes]] = lambda _, lines: lines,
    left_out: Collection[str] = (),
) -> list[str]:
    """Write the tables of a directory under new names and sorted; they appear together when all are complete.

    Args:
        data_dir: the directory.
        dest_dir: where the tables are written.
        renamings: how the ids are renamed.
        change: from the name of a table and some of its lines, already renamed, the lines to write.
        left_out: the names of tables that are not written.

    Returns:
        The names of the tables that were written.

    Raises:
        RecipeError: a table is malformed.
    """
    utts, spks = read_utt2spk(data_dir / "utt2spk")
    new_pairs = sorted(zip(map(renamings.utt.new_id, utts), map(renamings.spk.new_id, spks), strict=True))
    names = [path.name for path in tables(data_dir) if path.name not in ("utt2spk", "spk2utt", *left_out)]
    with new_tables(dest_dir) as write:
        for name in ("utt2spk", *names):
            lines: list[bytes] = []
            for block in blocks(data_dir / name):
                try:
                    lines += change(name, renamings.of_table(name, block.removesuffix(b"\n").split(b"\n")))
                except (IndexError, ValueError, KeyError, TypeError) as error:
                    raise RecipeError(
                        f"{data_dir / name} is malformed; utils/validate_data_dir.sh {data_dir} names the line"
                    ) from error
            write(name, (line for _, line in sorted(zip(line_ids(name, lines), lines, strict=True))))
        write("spk2utt", spk2utt_lines(utt2spk_to_spk2utt(*zip(*new_pairs, strict=True))))
        if renamings.utt and "utt2uniq" not in names:
            write("utt2uniq", sorted(b"%b %b" % (renamings.utt.new_id(utt), utt) for utt in utts))
            names.append("utt2uniq")
    return names


def set_aside_others(data_dir: Path, names: Collection[str]) -> None:
    """Move the tables and records of a directory to its `.backup`, but for `names`, `utt2spk` and `spk2utt`."""
    kept = {*names, "utt2spk", "spk2utt"}
    for name in links(data_dir):
        if name not in kept:
            (data_dir / name).unlink()
    for path in [*tables(data_dir), *map(data_dir.joinpath, RECORDS)]:
        if path.is_file() and path.name not in kept:
            back_up(path)
            path.unlink()
            logger.info("%s is not from the source; it is in %s now", path, path.parent / ".backup")
