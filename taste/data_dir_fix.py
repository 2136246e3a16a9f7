"""Data directories put in order (`utils/fix_data_dir.sh`)."""

from __future__ import annotations

import logging
import re
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

from taste.data_dir import (
    PARTIAL,
    back_up,
    keyed_lines,
    kind_of,
    line_ids,
    read_spk2utt,
    show,
    spk2utt_lines,
    tables,
    utt2spk_lines,
    utt2spk_to_spk2utt,
    write_lines,
)
from taste.data_dir_validate import MAY_HOLD_TABS, ODD_SPACE, PRINTABLE, form_of, read_ids
from taste.errors import RecipeError
from taste.files import atomic_path

logger = logging.getLogger(__name__)

TAB_BEHIND_ID = re.compile(rb"(?m)^(\S+)[ \t]*\t[ \t]*")
NAMED = 5  # faulty lines of a file that are named one by one


@dataclass
class Table:
    """A table as it is to be: its ids, sorted and unique, and its lines by id where they had to be mended."""

    path: Path
    ids: list[bytes]
    lines_before: int
    mended: dict[bytes, bytes] | None = None

    def blocks(self) -> Iterator[tuple[Iterable[bytes], Iterable[bytes]]]:
        """The ids and the lines, in blocks."""
        return iter([(self.mended, self.mended.values())]) if self.mended is not None else keyed_lines(self.path)

    def lines(self, keep: Container[bytes]) -> Iterator[bytes]:
        """The lines whose ids are in `keep`."""
        for keys, lines in self.blocks():
            yield from compress(lines, map(keep.__contains__, keys))

    def second_fields(self) -> dict[bytes, bytes]:
        """The field behind each id: the speaker in `utt2spk`, the recording in `segments`."""
        seconds = (line.split(None, 2)[1] for _, lines in self.blocks() for line in lines)
        return dict(zip(self.ids, seconds, strict=True))


def fix_data_dir(data_dir: str | Path) -> tuple[int, int]:
    """Put a data directory in order, as Kaldi's `fix_data_dir.sh` does.

    Files are sorted, of repeated ids the first line is kept, carriage returns, tabs and empty lines go, and every file
    keeps those utterances only that all files have with a well-formed line (`utt2words` may lack some), and whose
    speakers and recordings are everywhere. `spk2utt` follows from `utt2spk`, or the reverse where only the former
    exists. Originals of the files that change are kept in `.backup`.

    Returns:
        The numbers of lines of `utt2spk` before and after.

    Raises:
        RecipeError: nothing would remain, or the speakers are not in order; nothing has been changed then.
    """
    data_dir = Path(data_dir)
    if not data_dir.is_dir():
        raise RecipeError(f"no such directory {data_dir}")
    _make_utt2spk_if_missing(data_dir)
    by_name = {path.name: _read_table(path) for path in tables(data_dir) if path.name != "spk2utt"}
    utt2spk = by_name["utt2spk"].second_fields()
    utt2reco = by_name["segments"].second_fields() if "segments" in by_name else {}
    keep = _utterances_to_keep(data_dir, by_name, utt2spk, utt2reco)
    spk2utt = utt2spk_to_spk2utt(utt2spk, keep)
    speakers = [utt2spk[utt] for utt in keep]
    if speakers != sorted(speakers):
        raise RecipeError(
            f"{data_dir / 'utt2spk'}: sorted by utterance, the file is not sorted by speaker as well, "
            "which Kaldi's tools need; make speaker-ids prefixes of utterance-ids"
        )
    recordings = dict.fromkeys(utt2reco[utt] for utt in keep) if utt2reco else keep
    wanted = {"utt": keep, "spk": spk2utt, "reco": recordings}
    for table in by_name.values():
        _write_if_changed(table, wanted[kind_of(table.path.name) or "utt"])
    _replace_if_different(data_dir / "spk2utt", spk2utt_lines(spk2utt), "made from utt2spk")
    return by_name["utt2spk"].lines_before, len(keep)


def _make_utt2spk_if_missing(data_dir: Path) -> None:
    path = data_dir / "utt2spk"
    if path.is_file():
        return
    if not (data_dir / "spk2utt").is_file():
        raise RecipeError(f"no such file {path}; every data directory has one")
    lines = utt2spk_lines(read_spk2utt(data_dir / "spk2utt"))
    with atomic_path(path) as partial, open(partial, "wb") as stream:
        write_lines(stream, sorted(lines))
    logger.info("made %s from spk2utt", path)


def _read_table(path: Path) -> Table:
    ids, faults = read_ids(path, non_print=True)
    if not faults:
        return Table(path, ids, len(ids))
    for fault in faults:
        logger.info("%s", fault)
    mended = _mended_lines(path)
    return Table(path, list(mended), len(ids), mended)


def _mended_lines(path: Path) -> dict[bytes, bytes]:
    """The lines of a faulty table by their ids, sorted; those that cannot be mended are named and left out."""
    form = form_of(path.name)
    content = _mended_characters(path.name, path.read_bytes())
    lines = content.removesuffix(b"\n").split(b"\n")
    by_id = dict(zip(form.line.findall(content), lines, strict=False))
    if form.is_good or len(by_id) < len(lines) or b"" in by_id or not _is_utf8(content):
        by_id = _good_lines(path, lines)
    return {key: by_id[key] for key in sorted(by_id)}


def _good_lines(path: Path, lines: list[bytes]) -> dict[bytes, bytes]:
    """The first good line of each id; the others are named."""
    form = form_of(path.name)
    good: dict[bytes, bytes] = {}
    left_out = 0
    for number, (key, line) in enumerate(zip(line_ids(path.name, lines), lines, strict=True), start=1):
        if not line.strip():
            continue
        if key in good:
            reason = f"{show(key)} has a line before this one"
        elif not _is_utf8(line):
            reason = "not valid UTF-8"
        elif not key or not form.fits(line):
            reason = f"expected {form.description}, got {show(line)}"
        else:
            good[key] = line
            continue
        left_out += 1
        if left_out <= NAMED:
            logger.warning("%s:%d: line left out: %s", path, number, reason)
    if left_out > NAMED:
        logger.warning("%s: %d lines left out in all", path, left_out)
    return good


def _mended_characters(name: str, content: bytes) -> bytes:
    """The content of a table without carriage returns and tabs."""
    content = content.replace(b"\r", b"")
    if name not in MAY_HOLD_TABS:
        content = content.replace(b"\t", b" ")
    elif name == "wav.scp":
        content = TAB_BEHIND_ID.sub(rb"\1 ", content)
    if name == "text" and content.translate(None, PRINTABLE):
        text = content.decode(errors="surrogateescape")  # bytes that are no UTF-8 stay as they are
        content = ODD_SPACE.sub(" ", text).encode(errors="surrogateescape")
    return content


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _utterances_to_keep(
    data_dir: Path, by_name: Mapping[str, Table], utt2spk: dict[bytes, bytes], utt2reco: dict[bytes, bytes]
) -> dict[bytes, None]:
    """The utterances that every file has, in order; which file lacks how many is told."""
    keep = dict.fromkeys(utt2spk)
    for name, table in by_name.items():
        kind = kind_of(name)
        if name in PARTIAL or name.startswith("reco2"):
            continue
        if kind == "spk":
            owners = utt2spk
        elif kind == "reco" and utt2reco:
            owners = utt2reco
        else:
            owners = None
        if owners is None and table.ids == list(keep):
            continue
        present = set(table.ids)
        remaining = {utt: None for utt in keep if (owners.get(utt) if owners else utt) in present}
        if len(remaining) < len(keep):
            logger.info("%s lacks %d of %d utterances", table.path, len(keep) - len(remaining), len(keep))
        keep = remaining
    if not keep:
        raise RecipeError(f"{data_dir}: no utterance is in all files (see above), so nothing has been changed")
    return keep


def _write_if_changed(table: Table, keep: Mapping[bytes, object]) -> None:
    number = sum(map(keep.__contains__, table.ids))
    if table.mended is not None or number < len(table.ids):
        _replace_if_different(table.path, table.lines(keep), f"{number} of {table.lines_before} lines kept")


def _replace_if_different(path: Path, lines: Iterable[bytes], message: str) -> None:
    content = b"\n".join(lines) + b"\n"
    if path.is_file():
        if path.read_bytes() == content:
            return
        back_up(path)
    logger.info("%s: %s", path, message)
    with atomic_path(path) as partial:
        partial.write_bytes(content)
