"""Data directories put in order (`utils/fix_data_dir.sh`)."""

from __future__ import annotations

import contextlib
import filecmp
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import compress
from pathlib import Path

from taste.data_dir import (
    PARTIAL,
    KnownIds,
    back_up,
    is_ascending,
    kind_of,
    line_blocks,
    line_ids,
    read_spk2utt,
    read_utt2spk,
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
    """A table as it is to be but for the utterances that other tables lack.

    Attributes:
        path: the table.
        ids: its ids, sorted and unique.
        lines_before: how many lines it had.
        mended: where it had to be mended, a file beside it that has its lines sorted and without faults.
    """

    path: Path
    ids: list[bytes]
    lines_before: int
    mended: Path | None = None

    def blocks(self) -> Iterator[list[bytes]]:
        """The lines, in blocks."""
        return line_blocks(self.mended or self.path)

    @cached_property
    def second_fields(self) -> list[bytes]:
        """The field behind each id: the speaker in `utt2spk`, the recording in `segments`."""
        return [line.split(None, 2)[1] for lines in self.blocks() for line in lines]


class Selection:
    """Which of the lines of a table stay."""

    def __init__(self, ids: list[bytes], chosen: list[bool]) -> None:
        """Select.

        Args:
            ids: those that most tables have.
            chosen: whether the line of each of them stays.
        """
        self.keep = list(compress(ids, chosen))
        self._ids, self._chosen = ids, chosen

    @cached_property
    def _kept(self) -> set[bytes]:
        return set(self.keep)

    def of(self, ids: list[bytes]) -> list[bool]:
        """Whether the line of each of `ids` stays."""
        if ids == self._ids:
            return self._chosen
        return [True] * len(ids) if ids == self.keep else [key in self._kept for key in ids]


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
    with contextlib.ExitStack() as mended_files:
        utt2spk = _read_utt2spk(data_dir / "utt2spk", mended_files)
        utts = KnownIds(utt2spk.ids)
        others = [path for path in tables(data_dir) if path.name not in ("utt2spk", "spk2utt")]
        by_name = {path.name: _read_table(path, utts, mended_files) for path in others} | {"utt2spk": utt2spk}
        selected = _utterances_to_keep(data_dir, by_name)
        spks = list(compress(utt2spk.second_fields, selected.of(utt2spk.ids)))
        if spks != sorted(spks):
            raise RecipeError(
                f"{data_dir / 'utt2spk'}: sorted by utterance, the file is not sorted by speaker as well, "
                "which Kaldi's tools need; make speaker-ids prefixes of utterance-ids"
            )
        spk2utt = utt2spk_to_spk2utt(selected.keep, spks)
        selections = {"utt": selected, "spk": _all_of(list(spk2utt)), "reco": selected}
        if "segments" in by_name:
            segments = by_name["segments"]
            recordings = compress(segments.second_fields, selected.of(segments.ids))
            selections["reco"] = _all_of(sorted(set(recordings)))
        for table in by_name.values():
            _write_if_changed(table, selections[kind_of(table.path.name) or "utt"])
    content = b"".join(line + b"\n" for line in spk2utt_lines(spk2utt))
    path = data_dir / "spk2utt"
    if not path.is_file() or path.read_bytes() != content:
        with _replaced(path, "made from utt2spk") as partial:
            partial.write_bytes(content)
    return utt2spk.lines_before, len(selected.keep)


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


def _read_utt2spk(path: Path, mended_files: contextlib.ExitStack) -> Table:
    with contextlib.suppress(RecipeError):
        utts, spks = read_utt2spk(path)
        table = _read_table(path, KnownIds(utts), mended_files)
        if not table.mended:
            table.second_fields = spks
        return table
    return _read_table(path, KnownIds(), mended_files)


def _all_of(ids: list[bytes]) -> Selection:
    return Selection(ids, [True] * len(ids))


def _read_table(path: Path, known: KnownIds, mended_files: contextlib.ExitStack) -> Table:
    """Read a table; where it is faulty, `mended_files` gets a file with its lines as they are to be."""
    ids, faults = read_ids(path, known, non_print=True)
    if not faults:
        return Table(path, ids, len(ids))
    for fault in faults:
        logger.info("%s", fault)
    mended = path.with_name(f".mended.{path.name}")
    mended_files.callback(mended.unlink, missing_ok=True)
    mended_ids, lines = _mended_lines(path, known)
    with open(mended, "wb") as stream:
        write_lines(stream, lines)
    return Table(path, list(mended_ids), len(ids), mended)


def _mended_lines(path: Path, known: KnownIds) -> tuple[Sequence[bytes], list[bytes]]:
    """The ids and lines of a faulty table, sorted; lines that cannot be mended are named and left out."""
    form = form_of(path.name)
    content = _mended_characters(path.name, path.read_bytes())
    lines = content.split(b"\n")
    lines.pop()
    if (not form or form.first_fault(content) is None) and _is_utf8(content):
        in_order = sorted(lines)  # this sorts by id: behind an id is a space, which comes before all that ids hold
        ids = known.line_ids(path.name, in_order, 0)
        if ids and ids[0] and is_ascending(ids):
            return ids, in_order
    good = _good_lines(path, lines)
    return list(good), list(good.values())


def _good_lines(path: Path, lines: list[bytes]) -> dict[bytes, bytes]:
    """The first good line of each id, sorted by id; the others are named and left out."""
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
        elif form and (not key or form.first_fault(line + b"\n") is not None):
            reason = f"expected {form.description}, got {show(line)}"
        else:
            good[key] = line
            continue
        left_out += 1
        if left_out <= NAMED:
            logger.warning("%s:%d: line left out: %s", path, number, reason)
    if left_out > NAMED:
        logger.warning("%s: %d lines left out in all", path, left_out)
    return dict(sorted(good.items()))


def _mended_characters(name: str, content: bytes) -> bytes:
    """The content of a table without carriage returns and tabs, and with a newline at its end."""
    content = content.replace(b"\r", b"")
    if name not in MAY_HOLD_TABS:
        content = content.replace(b"\t", b" ")
    elif name == "wav.scp":
        content = TAB_BEHIND_ID.sub(rb"\1 ", content)
    if name == "text" and content.translate(None, PRINTABLE):
        text = content.decode(errors="surrogateescape")  # bytes that are no UTF-8 stay as they are
        content = ODD_SPACE.sub(" ", text).encode(errors="surrogateescape")
    if content and not content.endswith(b"\n"):
        content += b"\n"
    return content


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _utterances_to_keep(data_dir: Path, by_name: Mapping[str, Table]) -> Selection:
    """The utterances that every file has; which file lacks how many is told."""
    utt2spk, segments = by_name["utt2spk"], by_name.get("segments")
    chosen = [True] * len(utt2spk.ids)
    number = len(chosen)
    for name, table in by_name.items():
        kind = kind_of(name)
        if name in PARTIAL or name.startswith("reco2") or table.ids == utt2spk.ids:
            continue
        present = set(table.ids)
        if kind == "spk":
            chosen = [old and spk in present for old, spk in zip(chosen, utt2spk.second_fields, strict=True)]
        else:
            if kind == "reco" and segments:
                present = {
                    utt for utt, reco in zip(segments.ids, segments.second_fields, strict=True) if reco in present
                }
            chosen = [old and utt in present for old, utt in zip(chosen, utt2spk.ids, strict=True)]
        if lacking := number - sum(chosen):
            logger.info("%s lacks %d of %d utterances", table.path, lacking, number)
        number -= lacking
    if not number:
        raise RecipeError(f"{data_dir}: no utterance is in all files (see above), so nothing has been changed")
    return Selection(utt2spk.ids, chosen)


def _write_if_changed(table: Table, selection: Selection) -> None:
    """Write the lines of a table whose ids are selected, unless those are its lines already."""
    chosen = selection.of(table.ids)
    number = sum(chosen)
    if number == table.lines_before and (not table.mended or filecmp.cmp(table.mended, table.path, shallow=False)):
        return
    position = 0
    replaced = _replaced(table.path, f"{number} of {table.lines_before} lines kept")
    with replaced as partial, open(partial, "wb") as stream:
        for lines in table.blocks():
            write_lines(stream, compress(lines, chosen[position : position + len(lines)]))
            position += len(lines)


@contextlib.contextmanager
def _replaced(path: Path, message: str) -> Iterator[Path]:
    """Yield where to write the new content of `path`, whose original is kept in `.backup`."""
    with atomic_path(path) as partial:
        yield partial
        if path.is_file():
            back_up(path)
        logger.info("%s: %s", path, message)
