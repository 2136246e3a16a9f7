"""Kaldi data directories: which files they hold, what their lines are about, and how they are read and written.

Lines are handled as bytes and in blocks, and nothing but the standard library is imported, so that the tools start
at once and a million utterances take seconds. Ids are what precedes the first white space, in UTF-8; files are sorted
as `LC_ALL=C sort` does, which is the order of bytes.
"""

from __future__ import annotations

import contextlib
import filecmp
import json
import operator
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, compress, groupby, islice
from pathlib import Path
from typing import BinaryIO

from taste.errors import RecipeError
from taste.files import atomic_path

# What the lines of a table are about. Names that are not matched are none of a data directory's business.
KINDS = {
    "utt": re.compile(r"text|utt2\w+|segments|vad\.scp|feats(_\w+)?\.scp|spk_emb\.scp|data\.jsonl"),
    "reco": re.compile(r"wav\.scp|reco2\w+"),  # recordings; they are the utterances where there is no `segments`
    "spk": re.compile(r"spk2\w+|cmvn\.scp"),
}
# What made a table, or holds for every utterance: goes with the tables unchanged.
RECORDS = ("units.json", "feats.json", "tokens.json", "spk_emb.json", "taste.json", "frame_shift")
PARTIAL = ("utt2words",)  # may lack utterances

BLOCK_BYTES = 1 << 18
BLOCK_LINES = 1 << 14
UTT_IN_JSON = re.compile(rb'\{"utt": "([^"\\]+)"')


def kind_of(name: str) -> str | None:
    """What the lines of the file `name` are about: "utt", "reco", "spk", or None for a file of another sort."""
    return next((kind for kind, pattern in KINDS.items() if pattern.fullmatch(name)), None)


def tables(data_dir: Path) -> list[Path]:
    """The tables of a directory by name, without those that link to another of its tables."""
    return sorted(
        path for path in data_dir.iterdir() if kind_of(path.name) and path.is_file() and not link_target(path)
    )


def links(data_dir: Path) -> dict[str, str]:
    """The tables that link to another table of the same directory (`feats_deep.scp`), and the names they link to."""
    targets = {path.name: link_target(path) for path in data_dir.iterdir() if kind_of(path.name)}
    return {name: target for name, target in sorted(targets.items()) if target}


def link_target(path: Path) -> str | None:
    """The table of the same directory that `path` links to, or None."""
    if not path.is_symlink():
        return None
    target = str(path.readlink())
    return target if "/" not in target and kind_of(target) else None


def back_up(path: Path) -> None:
    """Keep the original of `path` in `.backup`; another that is there from before gets a number behind its name."""
    backup = path.parent / ".backup" / path.name
    if backup.exists():
        if filecmp.cmp(path, backup):  # kept by a run that was stopped then
            return
        number = next(n for n in range(1, 1_000_000) if not backup.with_name(f"{path.name}.{n}").exists())
        backup.rename(backup.with_name(f"{path.name}.{number}"))
    with atomic_path(backup) as partial:
        shutil.copy2(path, partial)


def require_data_dir(data_dir: str | Path) -> Path:
    """Return `data_dir` if it is a directory with `utt2spk`.

    Raises:
        RecipeError: it is not.
    """
    data_dir = Path(data_dir)
    if not data_dir.is_dir():
        raise RecipeError(f"no such directory {data_dir}")
    if not (data_dir / "utt2spk").is_file():
        raise RecipeError(f"no such file {data_dir / 'utt2spk'}; every data directory has one")
    return data_dir


def blocks(path: Path) -> Iterator[bytes]:
    """The content of a file in blocks of whole lines, each of about a quarter of a megabyte."""
    with open(path, "rb") as stream:
        while block := stream.read(BLOCK_BYTES) + stream.readline():
            yield block


def file_lines(path: Path) -> Iterator[bytes]:
    """The lines of a file, without newlines."""
    return chain.from_iterable(block.removesuffix(b"\n").split(b"\n") for block in blocks(path))


def keyed_lines(path: Path) -> Iterator[tuple[list[bytes], list[bytes]]]:
    """Read a table in blocks.

    Yields:
        The ids and the lines of a block, without newlines.

    Raises:
        RecipeError: a line without an id, with file and line.
    """
    number = 0
    for block in blocks(path):
        lines = block.removesuffix(b"\n").split(b"\n")
        keys = line_ids(path.name, lines)
        if b"" in keys:
            number += keys.index(b"") + 1
            raise RecipeError(f"{path}:{number}: a line without an id; utils/fix_data_dir.sh removes it")
        number += len(lines)
        yield keys, lines


def line_ids(name: str, lines: Sequence[bytes]) -> list[bytes]:
    """The ids of lines of the file `name`; empty for a line that has none."""
    if name.endswith(".jsonl"):
        return [_json_utt(line) for line in lines]
    try:
        return [line.split(None, 1)[0] for line in lines]
    except IndexError:
        return [(line.split(None, 1) or [b""])[0] for line in lines]


def _json_utt(line: bytes) -> bytes:
    if match := UTT_IN_JSON.match(line):  # as this project writes it
        return match[1]
    try:
        return json.loads(line)["utt"].encode()
    except (ValueError, KeyError, TypeError, AttributeError):
        return b""


def field_of(path: Path, number: int, line: bytes, field: int) -> bytes:
    """A field of a line, counted from 1.

    Args:
        path: the file, for the message.
        number: of the line, for the message.
        line: the line.
        field: which one.

    Raises:
        RecipeError: the line has too few fields; with file and line.
    """
    fields = line.split(None, field)
    if len(fields) < field:
        raise RecipeError(f"{path}:{number}: {show(line)} has no field {field}")
    return fields[field - 1]


def read_utt2spk(path: Path) -> tuple[list[bytes], list[bytes]]:
    """Read `utt2spk` in its own order.

    Returns:
        The utterances, and the speaker of each.

    Raises:
        RecipeError: the file is empty, a line has not two fields, or an utterance occurs twice; with file and line.
    """
    content = path.read_bytes()
    if not content:
        raise RecipeError(f"empty file {path}")
    fields = content.split()
    utts, spks = fields[::2], fields[1::2]
    rebuilt = b"\n".join(map(b" ".join, zip(utts, spks)))  # noqa: B905 (a last utterance without speaker is found below)
    if rebuilt != content.removesuffix(b"\n"):
        lines = content.splitlines()
        fields_of_lines = [line.split() for line in lines]
        if number := next((n for n, fields in enumerate(fields_of_lines, start=1) if len(fields) != 2), 0):
            raise RecipeError(
                f"{path}:{number}: 'utt spk' is expected, got {show(lines[number - 1])} "
                f"({len(fields_of_lines[number - 1])} fields); an id cannot hold a space"
            )
    if not is_ascending(utts) and len(set(utts)) < len(utts):
        seen: set[bytes] = set()
        number = next(n for n, utt in enumerate(utts, start=1) if utt in seen or seen.add(utt))  # type: ignore[func-returns-value]
        utt = show(utts[number - 1])
        raise RecipeError(f"{path}:{number}: {utt} occurs twice; utils/fix_data_dir.sh keeps the first line")
    return utts, spks


def is_ascending(ids: Sequence[bytes]) -> bool:
    """Whether ids are sorted, and none occurs twice."""
    return all(map(operator.lt, ids, islice(ids, 1, None)))


def show(id_or_line: bytes) -> str:
    """An id or a line as it stands in messages: decoded, in quotes, and cut where it is long."""
    text = id_or_line.decode(errors="backslashreplace").rstrip("\n")
    return repr(text if len(text) <= 80 else text[:80] + "…")


def second_fields(path: Path) -> dict[bytes, bytes]:
    """The field behind each id: of `segments` the recording, of `utt2dur` the seconds.

    Raises:
        RecipeError: a line without one, with file and line.
    """
    lines = path.read_bytes().splitlines()
    return {
        field_of(path, number, line, 1): field_of(path, number, line, 2) for number, line in enumerate(lines, start=1)
    }


def read_spk2utt(path: Path) -> dict[bytes, list[bytes]]:
    """Read `spk2utt` in its own order.

    Raises:
        RecipeError: a line without an utterance, or a speaker that occurs twice; with file and line.
    """
    spk2utt: dict[bytes, list[bytes]] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        spk, *utts = line.split() or [b""]
        if not utts:
            raise RecipeError(f"{path}:{number}: 'spk utt utt …' is expected, got {show(line)}")
        if spk in spk2utt:
            raise RecipeError(f"{path}:{number}: {show(spk)} occurs twice; utils/fix_data_dir.sh makes spk2utt anew")
        spk2utt[spk] = utts
    return spk2utt


def utt2spk_to_spk2utt(utts: Sequence[bytes], spks: Sequence[bytes]) -> dict[bytes, list[bytes]]:
    """The utterances of each speaker, speakers and utterances in the order in which they occur.

    Args:
        utts: utterances.
        spks: the speaker of each.
    """
    spk2utt: dict[bytes, list[bytes]] = {}
    start = 0
    for spk, run in groupby(spks):
        end = start + len(list(run))
        spk2utt.setdefault(spk, []).extend(utts[start:end])
        start = end
    return spk2utt


def spk2utt_lines(spk2utt: Mapping[bytes, Sequence[bytes]]) -> Iterator[bytes]:
    """The lines of `spk2utt`: a speaker and its utterances."""
    return (b"%b %b" % (spk, b" ".join(utts)) for spk, utts in spk2utt.items())


def utt2spk_lines(spk2utt: Mapping[bytes, Sequence[bytes]]) -> Iterator[bytes]:
    """The lines of `utt2spk`, from `spk2utt` and in its order."""
    return (b"%b %b" % (utt, spk) for spk, utts in spk2utt.items() for utt in utts)


def input_path(arguments: Sequence[str]) -> Path:
    """The file that a filter reads: the first argument, or else (also for `-`) standard input."""
    return Path(arguments[0] if arguments and arguments[0] != "-" else "/dev/stdin")


def print_lines(lines: Iterable[bytes]) -> None:
    """Write lines to standard output; where the reader of a pipe has enough (`| head`), the process ends quietly."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    write_lines(sys.stdout.buffer, lines)


def write_lines(stream: BinaryIO, lines: Iterable[bytes]) -> None:
    """Write lines, each with a newline behind it."""
    lines = iter(lines)
    while block := list(islice(lines, BLOCK_LINES)):
        stream.write(b"\n".join(block))
        stream.write(b"\n")


@contextlib.contextmanager
def new_tables(data_dir: Path) -> Iterator[Callable[[str, Iterable[bytes]], None]]:
    """Yield a function that writes a table of `data_dir`, called with its name and lines.

    The tables appear under their names together, when the block ends without an error, and the first comes last.
    """
    with contextlib.ExitStack() as files:

        def write(name: str, lines: Iterable[bytes]) -> None:
            with open(files.enter_context(atomic_path(data_dir / name)), "wb") as stream:
                write_lines(stream, lines)

        yield write


def filter_lines(table: Path, id_list: Path, field: int = 1, exclude: bool = False) -> Iterator[bytes]:
    """The lines of `table` whose id is in `id_list`, as Kaldi's `filter_scp.pl` prints them.

    Args:
        table: any file of fields parted by white space.
        id_list: a file whose lines begin with ids.
        field: in which field of `table`, from 1, the id stands.
        exclude: choose the lines whose id is not in the list.

    Raises:
        RecipeError: an empty line in one of the files, or one with too few fields in `table`; with file and line.
    """
    ids: set[bytes] = set()
    for keys, _ in keyed_lines(id_list):
        ids.update(keys)
    number = 0
    for keys, lines in keyed_lines(table):
        if field > 1:
            keys = [field_of(table, number + index, line, field) for index, line in enumerate(lines, start=1)]
        number += len(lines)
        yield from compress(lines, ((key in ids) != exclude for key in keys))
