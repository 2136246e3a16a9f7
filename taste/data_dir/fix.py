"""Data directories put in order (`utils/fix_data_dir.sh`)."""

from __future__ import annotations

import logging
import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import compress
from pathlib import Path

from taste.data_dir.contents import (
    BLOCK_LINES,
    PARTIAL,
    back_up,
    file_lines,
    is_ascending,
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
from taste.data_dir.validate import MAY_HOLD_TABS, ODD_SPACE, PRINTABLE, Form, form_of, read_ids
from taste.errors import RecipeError
from taste.files import atomic_path

logger = logging.getLogger(__name__)

TAB_BEHIND_ID = re.compile(rb"(?m)^(\S+)[ \t]*\t[ \t]*")
NAMED = 5  # faulty lines of a file that are named one by one


@dataclass
class Table:
    """A table as it is to be but for the ids that other tables lack.

    Attributes:
        path: the table.
        ids: its ids, sorted and unique.
        lines_before: how many lines it had.
        mended: its lines where they had to be mended, in the order of the ids.
    """

    path: Path
    ids: list[bytes]
    lines_before: int
    mended: list[bytes] | None = None

    def lines(self) -> Iterable[bytes]:
        """The lines, in the order of the ids."""
        return file_lines(self.path) if self.mended is None else self.mended

    def second_fields(self) -> list[bytes]:
        """The field behind each id: the speaker in `utt2spk`, the recording in `segments`."""
        return [line.split(None, 2)[1] for line in self.lines()]


class Selection:
    """Which lines of tables stay: those of some ids."""

    def __init__(self, ids: Sequence[bytes], known: tuple[list[bytes], list[bool]] = ([], [])) -> None:
        """Choose `ids`, sorted; `known` are ids of which it is known already whether they are among these."""
        self._ids = ids
        self._last = known

    @cached_property
    def _members(self) -> frozenset[bytes]:
        return frozenset(self._ids)

    def of(self, ids: list[bytes]) -> list[bool]:
        """Whether the line of each of `ids` stays."""
        if ids == self._ids:
            return [True] * len(ids)
        if ids != self._last[0]:  # as nearly all tables have the same ids
            self._last = ids, list(map(self._members.__contains__, ids))
        return self._last[1]


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
    utts, spks = by_name["utt2spk"].ids, by_name["utt2spk"].second_fields()
    segments = by_name.get("segments")
    utt2reco = dict(zip(segments.ids, segments.second_fields(), strict=True)) if segments else None
    chosen = _utterances_to_keep(by_name, spks, utt2reco)
    known = utts, chosen
    utts, spks = list(compress(utts, chosen)), list(compress(spks, chosen))
    if not utts:
        raise RecipeError(f"{data_dir}: no utterance is in all files (see above), so nothing has been changed")
    if spks != sorted(spks):
        raise RecipeError(
            f"{data_dir / 'utt2spk'}: sorted by utterance, the file is not sorted by speaker as well, "
            "which Kaldi's tools need; make speaker-ids prefixes of utterance-ids"
        )
    spk2utt = utt2spk_to_spk2utt(utts, spks)
    of_utts = Selection(utts, known)
    of_recordings = Selection(sorted({utt2reco[utt] for utt in utts})) if utt2reco else of_utts
    selections = {"utt": of_utts, "spk": Selection(list(spk2utt)), "reco": of_recordings}
    for table in by_name.values():
        _write_if_changed(table, selections[kind_of(table.path.name) or "utt"])
    lines = list(spk2utt_lines(spk2utt))
    if not (data_dir / "spk2utt").is_file() or _differ(data_dir / "spk2utt", lines):
        _replace(data_dir / "spk2utt", lines, "made from utt2spk")
    return by_name["utt2spk"].lines_before, len(utts)


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
    mended_ids, lines = _mended_lines(path)
    return Table(path, mended_ids, len(ids), lines)


def _mended_lines(path: Path) -> tuple[list[bytes], list[bytes]]:
    """The ids and lines of a faulty table, sorted; lines that cannot be mended are named and left out."""
    form = form_of(path.name)
    content = _mended_characters(path.name, path.read_bytes())
    lines = content.split(b"\n")
    if not lines[-1]:  # behind the last newline
        lines.pop()
    in_order = sorted(lines)  # by id, as behind it stands what sorts before all that ids hold
    ids = _ids_of_good_lines(form, in_order)
    is_good = not form.is_good and len(ids) == len(lines) and b"" not in ids and _is_utf8(content)
    if is_good and is_ascending(ids):
        return ids, in_order
    good = _good_lines(path, lines)
    ids = sorted(good)
    return ids, [good[key] for key in ids]


def _ids_of_good_lines(form: Form, lines: list[bytes]) -> list[bytes]:
    starts = range(0, len(lines), BLOCK_LINES)
    return [key for start in starts for key in form.line.findall(b"\n".join(lines[start : start + BLOCK_LINES]))]


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
    by_name: Mapping[str, Table], spks: list[bytes], utt2reco: Mapping[bytes, bytes] | None
) -> list[bool]:
    """Whether each utterance of `utt2spk` is in every file; which file lacks how many is told."""
    utts = by_name["utt2spk"].ids
    chosen = [True] * len(utts)
    for name, table in by_name.items():
        if name in PARTIAL or name.startswith("reco2") or table.ids == utts:
            continue
        wanted = utts
        if kind_of(name) == "spk":
            wanted = spks
        elif kind_of(name) == "reco" and utt2reco is not None:
            wanted = [utt2reco.get(utt, b"") for utt in utts]
        number = sum(chosen)
        chosen = list(map(operator.and_, chosen, Selection(table.ids).of(wanted)))
        if lacking := number - sum(chosen):
            logger.info("%s lacks %d of %d utterances", table.path, lacking, number)
    return chosen


def _write_if_changed(table: Table, selection: Selection) -> None:
    chosen = selection.of(table.ids)
    number = sum(chosen)
    if number < len(table.ids) or (table.mended is not None and _differ(table.path, table.mended)):
        _replace(table.path, compress(table.lines(), chosen), f"{number} of {table.lines_before} lines kept")


def _differ(path: Path, lines: Sequence[bytes]) -> bool:
    """Whether a file has other lines than these."""
    size = sum(map(len, lines)) + len(lines)
    return path.stat().st_size != size or path.read_bytes() != b"\n".join(lines) + b"\n"


def _replace(path: Path, lines: Iterable[bytes], message: str) -> None:
    """Write a table anew; the original, where there is one, is kept."""
    logger.info("%s: %s", path, message)
    with atomic_path(path) as partial:
        with open(partial, "wb") as stream:
            write_lines(stream, lines)
        if path.is_file():
            back_up(path)
