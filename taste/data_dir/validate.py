"""What is wrong with a data directory (`utils/validate_data_dir.sh`)."""

from __future__ import annotations

import operator
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path

from taste.data_dir.contents import (
    PARTIAL,
    blocks,
    is_ascending,
    kind_of,
    line_ids,
    read_spk2utt,
    read_utt2spk,
    require_data_dir,
    show,
    tables,
    utt2spk_to_spk2utt,
)
from taste.errors import RecipeError

OPTIONS = ("--no-feats", "--no-text", "--no-wav", "--no-spk-sort", "--non-print")  # of utils/validate_data_dir.sh
PRINTABLE = bytes(range(0x20, 0x7F)) + b"\t\n\r"
CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")
ODD_SPACE = re.compile(r"[^\S\t\n\r ]")
TAB = re.compile(rb"\t")
TAB_AFTER_ID = re.compile(rb"(?m)^\S*\t")
MAY_HOLD_TABS = ("wav.scp", "data.jsonl")  # in commands and strings, but not after the id
ILLEGAL_SYMBOL = re.compile(rb"(?<!\w)(?:<s>|</s>|#0)(?!\w)")


@dataclass(frozen=True)
class Form:
    """What the lines of a table have to look like.

    Attributes:
        line: the pattern of a line. It begins with a group, the id, so that `findall` tells the ids of all good lines
            of a block at once, which takes half the time that looking at each line takes.
        description: the pattern for people.
        is_good: what a line has to pass as well.
    """

    line: re.Pattern[bytes]
    description: str = ""
    is_good: Callable[[bytes], bool] | None = None

    def fits(self, line: bytes) -> bool:
        """Whether a line has this form."""
        return bool(self.line.match(line)) and (self.is_good is None or self.is_good(line))


def _ends_after_start(segment: bytes) -> bool:
    _, _, start, end = segment.split()
    return float(start) < float(end)


def _form(pattern: bytes, description: str = "", is_good: Callable[[bytes], bool] | None = None) -> Form:
    return Form(re.compile(rb"(?m)^%b[ \t\r\f\v]*$" % pattern), description, is_good)


ID = rb"(\S+)"
KEY = ID + rb"[ \t]+"  # with what parts it from the value
NUMBER = rb"(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
POSITIVE = rb"(?=[0.]*[1-9])" + NUMBER
FACTOR = rb"(?:0?\.[5-9]\d*|1(?:\.[0-4]\d*)?)"
INTEGERS = rb"[0-9 \t]*"
FORMS = {
    "utt2spk": _form(KEY + rb"\S+", "'utt spk' (an id cannot hold a space)"),
    "wav.scp": _form(KEY + rb"[^~\s].*", "'utt path' or 'utt command |', without a tilde (~) before the path"),
    "segments": _form(
        KEY + rb"\S+[ \t]+%b[ \t]+%b" % (NUMBER, NUMBER),
        "'utt recording start end', end after start",
        _ends_after_start,
    ),
    "utt2dur": _form(KEY + POSITIVE, "'utt seconds', more than 0"),
    "reco2dur": _form(KEY + POSITIVE, "'recording seconds', more than 0"),
    "utt2num_frames": _form(KEY + rb"0*[1-9]\d*", "'utt frames', more than 0"),
    "utt2warp": _form(KEY + FACTOR, "'utt factor', between 0.5 and 1.5"),
    "spk2warp": _form(KEY + FACTOR, "'spk factor', between 0.5 and 1.5"),
    "spk2gender": _form(KEY + rb"[mf]", "'spk m' or 'spk f'"),
    "reco2file_and_channel": _form(KEY + rb"\S+[ \t]+[AB1]", "'recording file A' or 'recording file B'"),
    "utt2s3": _form(ID + INTEGERS, "'utt unit unit …', units as integers"),
    "utt2token": _form(ID + INTEGERS, "'utt id id …', ids as integers"),
    "utt2taste": _form(ID + INTEGERS, "'utt index index …', indices as integers"),
    "utt2word_tokens": _form(ID + INTEGERS, "'utt n n …', the number of each word's tokens"),
    "utt2words": _form(ID + rb"(?:[ \t]+\S+[ \t]+[\d.]+[ \t]+[\d.]+)*", "'utt word start end …', times in seconds"),
    # the group is empty where the record does not begin as this project writes it
    "data.jsonl": _form(rb'\{(?:"utt": "([^"\\]+)")?.*\}', '\'{"utt": …, "audio_path": …, "text": …}\''),
}
SCP_FORM = _form(KEY + rb"\S.*", "'utt file:offset'")
ANY_FORM = _form(rb"[ \t]*(\S+).*")


def validate_data_dir(
    data_dir: str | Path,
    require_feats: bool = True,
    require_text: bool = True,
    require_wav: bool = True,
    spk_sort: bool = True,
    non_print: bool = False,
) -> list[str]:
    """Find what is wrong with a data directory: all that Kaldi's `validate_data_dir.sh` checks, and more.

    Every table that is there is checked, also those of this project: ids sorted, unique and the same as in `utt2spk`
    (or `segments`, `spk2utt`), the form of the lines, UTF-8 without carriage returns and tabs, links that lead
    somewhere. Of each sort of fault in a file the first is told.

    Args:
        data_dir: the directory.
        require_feats: whether `feats.scp` has to be there.
        require_text: whether `text` has to be there.
        require_wav: whether `wav.scp` has to be there.
        spk_sort: whether `utt2spk` has to be sorted by speaker as well as by utterance.
        non_print: whether non-printable characters are allowed in `text`.

    Returns:
        The faults, each with file, line where there is one, and what to do; empty for a valid directory.
    """
    try:
        data_dir = require_data_dir(data_dir)
        utts, spks = read_utt2spk(data_dir / "utt2spk")
    except RecipeError as error:
        return [str(error)]
    faults: list[str] = []
    required = {"spk2utt": True, "text": require_text, "wav.scp": require_wav, "feats.scp": require_feats}
    for name, is_required in required.items():
        if is_required and not (data_dir / name).is_file():
            option = f" (if this is by design, specify --no-{name.removesuffix('.scp')})" if name != "spk2utt" else ""
            faults.append(f"no such file {data_dir / name}{option}")
    faults += dangling_links(data_dir)
    if spk_sort:
        faults += _speaker_order(data_dir / "utt2spk", spks)
    expected = {"utt": utts, "spk": sorted(set(spks)), "reco": _recordings(data_dir) or utts}
    for path in tables(data_dir):
        faults += check_table(path, expected[kind_of(path.name) or "utt"], non_print)
    if not faults and utt2spk_to_spk2utt(utts, spks) != read_spk2utt(data_dir / "spk2utt"):
        faults.append(f"{data_dir}: spk2utt and utt2spk do not match; utils/fix_data_dir.sh makes spk2utt anew")
    return faults


def exit_if_invalid(data_dir: str | Path, options: Sequence[str], tool: str) -> None:
    """Check a directory and print what is wrong with it; end with exit status 1 if anything is.

    Args:
        data_dir: the directory.
        options: of `OPTIONS`.
        tool: the name that the messages begin with.

    Raises:
        RecipeError: no such option.
    """
    if unknown := [option for option in options if option not in OPTIONS]:
        raise RecipeError(f"utils/validate_data_dir.sh has no option {unknown[0]}; --help lists them")
    faults = validate_data_dir(
        data_dir,
        require_feats="--no-feats" not in options,
        require_text="--no-text" not in options,
        require_wav="--no-wav" not in options,
        spk_sort="--no-spk-sort" not in options,
        non_print="--non-print" in options,
    )
    for fault in faults:
        print(f"{tool}: {fault}")
    if faults:
        sys.exit(1)
    print(f"{tool}: Successfully validated data-directory {data_dir}")


def dangling_links(data_dir: Path) -> Iterator[str]:
    """Tables that are links to files that do not exist, each with what to do."""
    for path in sorted(data_dir.iterdir()):
        if kind_of(path.name) and path.is_symlink() and not path.exists():
            yield f"{path} links to {path.readlink()}, which does not exist; make that file or remove the link"


def _speaker_order(path: Path, spks: Sequence[bytes]) -> Iterator[str]:
    if not all(map(operator.le, spks, islice(spks, 1, None))):
        number = next(i for i, (one, two) in enumerate(pairwise(spks), 2) if one > two)
        yield (
            f"{path}:{number}: not sorted by speaker as well as by utterance; "
            "make speaker-ids prefixes of utterance-ids, or specify --no-spk-sort"
        )


def _recordings(data_dir: Path) -> list[bytes]:
    """The recordings that `segments` names, or none where there is no such file."""
    if not (data_dir / "segments").is_file():
        return []
    lines = (data_dir / "segments").read_bytes().splitlines()
    return sorted({fields[1] for line in lines if len(fields := line.split(None, 2)) > 1})


def source_of(name: str) -> str:
    """The file that tells which ids the file `name` has to hold, as messages name it."""
    return "segments (or utt2spk where there is none)" if kind_of(name) == "reco" else "utt2spk"


def check_table(path: Path, expected: Sequence[bytes], non_print: bool = False) -> list[str]:
    """Find what is wrong with one table, reading it once and in blocks.

    Args:
        path: the table.
        expected: the ids that it has to hold, sorted.
        non_print: whether non-printable characters are allowed.

    Returns:
        The first fault of each sort.
    """
    ids, faults = read_ids(path, non_print)
    if ids == expected:
        return faults
    if unknown := set(ids).difference(expected, [b""]):
        index = next(index for index, key in enumerate(ids) if key in unknown)
        faults.append(
            f"{path}:{index + 1}: {len(unknown)} ids are not in {source_of(path.name)}, first {show(ids[index])}; "
            "utils/fix_data_dir.sh leaves them out"
        )
    if path.name not in PARTIAL and (missing := set(expected).difference(ids)):
        faults.append(
            f"{path}: {len(missing)} ids of {source_of(path.name)} are missing, first {show(min(missing))}; "
            "utils/fix_data_dir.sh leaves them out everywhere"
        )
    return faults


def read_ids(path: Path, non_print: bool = False) -> tuple[list[bytes], list[str]]:
    """Read the ids of a table, and find what is wrong with its characters, the form of its lines and their order.

    Returns:
        The id of every line, empty for a line that has none; and the first fault of each sort.
    """
    faults: dict[str, str] = {}

    def fault(sort: str, number: int, message: str) -> None:
        faults.setdefault(sort, f"{path}:{number}: {message}")

    form = form_of(path.name)
    ids: list[bytes] = []
    for block in blocks(path):
        first = len(ids) + 1
        for sort, index, message in _character_faults(path.name, block, non_print):
            fault(sort, first + index, message)
        keys = form.line.findall(block)
        if form.is_good or len(keys) < block.count(b"\n") or b"" in keys:
            lines = block.removesuffix(b"\n").split(b"\n")
            keys = line_ids(path.name, lines)
            if line := next((line for line in lines if line.strip() and not form.fits(line)), None):
                fault("form", first + lines.index(line), f"expected {form.description}, got {show(line)}")
        ids += keys
        if not block.endswith(b"\n"):
            fault("end", len(ids), "the last line has no newline; utils/fix_data_dir.sh adds it")
    for sort, index, message in order_faults(ids):
        fault(sort, index + 1, message)
    return ids, list(faults.values())


def form_of(name: str) -> Form:
    """What the lines of the file `name` have to look like."""
    return FORMS.get(name, SCP_FORM if name.endswith(".scp") else ANY_FORM)


def _character_faults(name: str, block: bytes, non_print: bool) -> Iterator[tuple[str, int, str]]:
    """Faults of the characters of some lines: their sort, the index of the line, and the message."""
    if (position := block.find(b"\r")) >= 0:
        yield "CR", block.count(b"\n", 0, position), "holds a carriage return; utils/fix_data_dir.sh removes it"
    if b"\t" in block and (match := (TAB_AFTER_ID if name in MAY_HOLD_TABS else TAB).search(block)):
        yield "tab", block.count(b"\n", 0, match.start()), "holds a tab; utils/fix_data_dir.sh makes it a space"
    try:
        text = block.decode()
    except UnicodeDecodeError as error:
        index = block.count(b"\n", 0, error.start)
        yield "UTF-8", index, "not valid UTF-8; convert the file to UTF-8 (iconv -f latin1 -t utf8)"
        return
    if name != "text":
        return
    if block.translate(None, PRINTABLE):
        if match := ODD_SPACE.search(text):
            message = f"holds white space other than a space (U+{ord(match[0]):04X}); utils/fix_data_dir.sh replaces it"
            yield "space", text.count("\n", 0, match.start()), message
        if not non_print and (match := CONTROL.search(text)):
            message = f"holds a non-printable character (U+{ord(match[0]):04X}); remove it, or specify --non-print"
            yield "print", text.count("\n", 0, match.start()), message
    if (b"s>" in block or b"#0" in block) and (match := ILLEGAL_SYMBOL.search(block)):
        index = block.count(b"\n", 0, match.start())
        yield "symbol", index, "holds <s>, </s> or #0, which mean something else in Kaldi; remove it"


def order_faults(ids: list[bytes]) -> Iterator[tuple[str, int, str]]:
    """Faults in the order of a file's ids: their sort, the index of the line, and the message."""
    if b"" in ids:
        yield "empty", ids.index(b""), "a line without an id; utils/fix_data_dir.sh removes it"
    if not is_ascending(ids):
        index = next(i for i, (one, two) in enumerate(pairwise(ids), start=1) if one >= two)
        if ids[index] == ids[index - 1]:
            yield "twice", index, f"{show(ids[index])} occurs twice; utils/fix_data_dir.sh keeps the first line"
        else:
            message = f"{show(ids[index])} is out of order (LC_ALL=C sort); utils/fix_data_dir.sh sorts the file"
            yield "order", index, message
