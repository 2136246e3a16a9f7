"""Kaldi data directories: which files they hold, what their lines are about, and how to part them.

Lines are handled as bytes and in blocks, and nothing but the standard library is imported, so that the tools start
at once and a million utterances take seconds. Ids are what precedes the first white space, in UTF-8; files are sorted
as `LC_ALL=C sort` does, which is the order of bytes.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import shutil
import signal
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import compress, groupby, repeat
from pathlib import Path

from taste.errors import RecipeError
from taste.files import atomic_path

logger = logging.getLogger(__name__)

# What the lines of a table are about. Names that are not matched are none of a data directory's business.
KINDS = {
    "utt": re.compile(r"text|utt2\w+|segments|vad\.scp|feats(_\w+)?\.scp|spk_emb\.scp|data\.jsonl"),
    "reco": re.compile(r"wav\.scp|reco2\w+"),  # recordings; they are the utterances where there is no `segments`
    "spk": re.compile(r"spk2\w+|cmvn\.scp"),
}
# What made a table, or holds for every utterance: goes with the tables unchanged.
RECORDS = ("units.json", "feats.json", "tokens.json", "spk_emb.json", "frame_shift")
PARTIAL = ("utt2words",)  # may lack utterances

BLOCK_BYTES = 1 << 20
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
    """Keep the original of `path` in `.backup`; one that is there from before gets a number behind its name."""
    backup = path.parent / ".backup" / path.name
    if backup.exists():
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


def keyed_lines(path: Path) -> Iterator[tuple[list[bytes], list[bytes]]]:
    """Read a table in blocks of about a megabyte.

    Yields:
        The ids and the lines of a block, each line with its newline.

    Raises:
        RecipeError: a line without an id, with file and line.
    """
    number = 0
    with open(path, "rb") as stream:
        while lines := stream.readlines(BLOCK_BYTES):
            if not lines[-1].endswith(b"\n"):
                lines[-1] += b"\n"
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


def read_utt2spk(path: Path) -> dict[bytes, bytes]:
    """Read `utt2spk` in its own order.

    Raises:
        RecipeError: the file is empty, a line has not two fields, or an utterance occurs twice; with file and line.
    """
    lines = path.read_bytes().splitlines()
    try:
        utt2spk: dict[bytes, bytes] = dict(map(bytes.split, lines))  # type: ignore[arg-type]
    except ValueError:
        utt2spk = {}
    if not lines:
        raise RecipeError(f"empty file {path}")
    if len(utt2spk) != len(lines):
        raise _bad_utt2spk(path, lines)
    return utt2spk


def _bad_utt2spk(path: Path, lines: Sequence[bytes]) -> RecipeError:
    seen: set[bytes] = set()
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if len(fields) != 2:
            return RecipeError(
                f"{path}:{number}: 'utt spk' is expected, got {show(line)} ({len(fields)} fields); "
                "an id cannot hold a space"
            )
        if fields[0] in seen:
            utt = show(fields[0])
            return RecipeError(f"{path}:{number}: {utt} occurs twice; utils/fix_data_dir.sh keeps the first line")
        seen.add(fields[0])
    return RecipeError(f"{path}: malformed")


def show(id_or_line: bytes) -> str:
    """An id or a line as it stands in messages: decoded, in quotes, and cut where it is long."""
    text = id_or_line.decode(errors="backslashreplace").rstrip("\n")
    return repr(text if len(text) <= 80 else text[:80] + "…")


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


def utt2spk_to_spk2utt(utt2spk: Mapping[bytes, bytes], utts: Iterable[bytes]) -> dict[bytes, list[bytes]]:
    """The utterances of each speaker, speakers and utterances in the order in which they occur in `utts`."""
    spk2utt: dict[bytes, list[bytes]] = {}
    for spk, run in groupby(utts, utt2spk.__getitem__):
        spk2utt.setdefault(spk, []).extend(run)
    return spk2utt


def spk2utt_lines(spk2utt: Mapping[bytes, Sequence[bytes]]) -> Iterator[bytes]:
    """The lines of `spk2utt`: a speaker and its utterances."""
    return (b"%s %s\n" % (spk, b" ".join(utts)) for spk, utts in spk2utt.items())


def utt2spk_lines(spk2utt: Mapping[bytes, Sequence[bytes]]) -> Iterator[bytes]:
    """The lines of `utt2spk`, from `spk2utt` and in its order."""
    return (b"%s %s\n" % (utt, spk) for spk, utts in spk2utt.items() for utt in utts)


def input_path(arguments: Sequence[str]) -> Path:
    """The file that a filter reads: the first argument, or else (also for `-`) standard input."""
    return Path(arguments[0] if arguments and arguments[0] != "-" else "/dev/stdin")


def print_lines(lines: Iterable[bytes]) -> None:
    """Write lines to standard output; where the reader of a pipe has enough (`| head`), the process ends quietly."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.stdout.buffer.writelines(lines)


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
            keys = [_field(table, number + index, line, field) for index, line in enumerate(lines, start=1)]
        number += len(lines)
        yield from compress(lines, ((key in ids) != exclude for key in keys))


def _field(path: Path, number: int, line: bytes, field: int) -> bytes:
    fields = line.split(None, field)
    if len(fields) < field:
        raise RecipeError(f"{path}:{number}: {show(line)} has no field {field}")
    return fields[field - 1]


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
    spk2utts = [utt2spk_to_spk2utt(utt2spk, utts) for utts in parts]
    indices = [(index,) for index in range(len(parts))]
    utt_parts: dict[bytes, tuple[int, ...]] = dict.fromkeys(utt2spk, ())
    for index, utts in zip(indices, parts, strict=True):
        utt_parts.update(zip(utts, repeat(index)))
    part_sets = {
        "utt": utt_parts,
        "spk": _parts_of_owners((spk, index) for index, spks in zip(indices, spk2utts, strict=True) for spk in spks),
        "reco": _recording_parts(data_dir, utt_parts),
    }
    for directory, spk2utt in zip(part_dirs, spk2utts, strict=True):
        _copy_records_and_links(data_dir, directory)
        with atomic_path(directory / "spk2utt") as partial, open(partial, "wb") as stream:
            stream.writelines(spk2utt_lines(spk2utt))
    for path in sorted(tables(data_dir), key=lambda path: path.name == "utt2spk"):
        if path.name == "spk2utt":
            continue
        kind = kind_of(path.name)
        wanted = part_sets[kind or "utt"]
        found, expected = _distribute(path, wanted, part_dirs), sum(map(bool, wanted.values()))
        if found < expected and kind != "spk" and path.name not in PARTIAL:
            logger.warning(
                "%s has only %d of %d utterances; utils/fix_data_dir.sh %s leaves out the others everywhere",
                *(path, found, expected, data_dir),
            )


def _parts_of_owners(pairs: Iterable[tuple[bytes, tuple[int, ...]]]) -> dict[bytes, tuple[int, ...]]:
    """The parts of speakers or recordings from those of their utterances."""
    owners: dict[bytes, dict[int, None]] = {}
    for owner, index in pairs:
        owners.setdefault(owner, {}).update(zip(index, repeat(None)))
    return {owner: tuple(indices) for owner, indices in owners.items()}


def _recording_parts(data_dir: Path, utt_parts: dict[bytes, tuple[int, ...]]) -> dict[bytes, tuple[int, ...]]:
    segments = data_dir / "segments"
    if not segments.is_file():
        return utt_parts
    pairs = []
    for keys, lines in keyed_lines(segments):
        for utt, line in zip(keys, lines, strict=True):
            if utt in utt_parts:
                pairs.append((line.split(None, 2)[1], utt_parts[utt]))
    return _parts_of_owners(pairs)


def _distribute(path: Path, wanted: Mapping[bytes, tuple[int, ...]], part_dirs: Sequence[Path]) -> int:
    """Write each line of `path` to the parts of its id; returns how many lines belong to a part."""
    found = 0
    with contextlib.ExitStack() as stack:
        outputs = [stack.enter_context(atomic_path(directory / path.name)) for directory in part_dirs]
        for output in outputs:
            output.touch()
        ordered_keys, ordered_indices, position = list(wanted), list(wanted.values()), 0
        for keys, lines in keyed_lines(path):
            end = position + len(keys)
            if keys == ordered_keys[position:end]:  # in step with utt2spk, which saves a million look-ups
                indices = ordered_indices[position:end]
            else:
                indices = [wanted.get(key, ()) for key in keys]
            position = end
            found += sum(map(bool, indices))
            for index, chosen in _chosen_lines(indices, lines).items():
                with open(outputs[index], "ab") as stream:
                    stream.writelines(chosen)
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


def _copy_records_and_links(data_dir: Path, directory: Path) -> None:
    for name in RECORDS:
        if (data_dir / name).is_file():
            with atomic_path(directory / name) as partial:
                shutil.copyfile(data_dir / name, partial)
    for name, target in links(data_dir).items():
        with atomic_path(directory / name) as partial:
            partial.symlink_to(target)
