"""What is wrong with a data directory (`utils/validate_data_dir.sh`)."""

from __future__ import annotations

import operator
import re
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path

from taste.data_dir import (
    BLOCK_BYTES,
    PARTIAL,
    KnownIds,
    is_ascending,
    kind_of,
    read_spk2utt,
    read_utt2spk,
    require_data_dir,
    show,
    tables,
    utt2spk_to_spk2utt,
)
from taste.errors import RecipeError

OPTIONS = frozenset({"--no-feats", "--no-text", "--non-print", "--no-wav", "--no-spk-sort"})
PRINTABLE = bytes(range(0x20, 0x7F)) + b"\t\n\r"
CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")
ODD_SPACE = re.compile(r"[^\S\t\n\r ]")
TAB = re.compile(rb"\t")
TAB_AFTER_ID = re.compile(rb"\S*\t")
MAY_HOLD_TABS = ("wav.scp", "data.jsonl")  # in commands and strings, but not after the id
ILLEGAL_SYMBOL = re.compile(rb"(?<!\w)(<s>|</s>|#0)(?!\w)")
NUMBER = rb"(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
NON_EMPTY = re.compile(rb".+")
POSITIVE = rb"(?=[0.]*[1-9])" + NUMBER
ID = rb"\S+"
VALUE = ID + rb"[ \t]+"  # an id, and the space behind it


class Form:
    """What the lines of a table have to look like.

    Blocks of lines are tested at once: a call for each line would take several times as long.
    """

    def __init__(self, pattern: bytes, description: str, is_good: Callable[[bytes], bool] | None = None) -> None:
        """Make a form.

        Args:
            pattern: what a line has to match.
            description: the pattern for people.
            is_good: what a line has to pass as well.
        """
        self.description = description
        self._lines = re.compile(rb"(?:%b[ \t\r\f\v]*\n)*" % pattern)
        self._is_good = is_good

    def first_fault(self, lines: bytes) -> int | None:
        """The index of the first faulty one of some lines, all of which end in a newline; None if all are good."""
        start = 0
        while start < len(lines):
            end = lines.find(b"\n", min(start + BLOCK_BYTES, len(lines) - 1)) + 1  # as the match takes memory
            good_end = self._lines.match(lines, start, end).end()  # type: ignore[union-attr]
            if self._is_good:
                for match in NON_EMPTY.finditer(lines, start, good_end):
                    if not self._is_good(match[0]):
                        return lines.count(b"\n", 0, match.start())
            if good_end < end:
                return lines.count(b"\n", 0, good_end)
            start = end
        return None


def _ends_after_start(segment: bytes) -> bool:
    _, _, start, end = segment.split()
    return float(start) < float(end)


WARP = Form(VALUE + rb"(?:0?\.[5-9]\d*|1(?:\.[0-4]\d*)?)", "'id factor', between 0.5 and 1.5")
SCP = Form(VALUE + rb"\S.*", "'utt file:offset'")
FORMS = {
    "utt2spk": Form(VALUE + ID, "'utt spk' (an id cannot hold a space)"),
    "wav.scp": Form(VALUE + rb"[^~\s].*", "'utt path' or 'utt command |', without a tilde (~) before the path"),
    "segments": Form(
        VALUE + VALUE + NUMBER + rb"[ \t]+" + NUMBER, "'utt recording start end', end after start", _ends_after_start
    ),
    "utt2dur": Form(VALUE + POSITIVE, "'utt seconds', more than 0"),
    "reco2dur": Form(VALUE + POSITIVE, "'recording seconds', more than 0"),
    "utt2num_frames": Form(VALUE + rb"0*[1-9]\d*", "'utt frames', more than 0"),
    "utt2warp": WARP,
    "spk2warp": WARP,
    "spk2gender": Form(VALUE + rb"[mf]", "'spk m' or 'spk f'"),
    "reco2file_and_channel": Form(VALUE + VALUE + rb"[AB1]", "'recording file A' or 'recording file B'"),
    "utt2s3": Form(ID + rb"[0-9 \t]*", "'utt unit unit …', units as integers"),
    "utt2token": Form(ID + rb"[0-9 \t]*", "'utt id id …', ids as integers"),
    "utt2word_tokens": Form(ID + rb"[0-9 \t]*", "'utt n n …', the number of each word's tokens"),
    "utt2words": Form(ID + rb"(?:[ \t]+\S+[ \t]+[\d.]+[ \t]+[\d.]+)*", "'utt word start end …', times in seconds"),
    "data.jsonl": Form(rb"\{.*\}", '\'{"utt": …, "audio_path": …, "text": …}\''),
}


def form_of(name: str) -> Form | None:
    """What the lines of the file `name` have to look like, None where anything will do."""
    return FORMS.get(name, SCP if name.endswith(".scp") else None)


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
    known = {
        "utt": KnownIds(utts),
        "spk": KnownIds(sorted(set(spks))),
        "reco": KnownIds(_recordings(data_dir)),
    }
    if not known["reco"].ids:
        known["reco"] = known["utt"]
    for path in tables(data_dir):
        faults += check_table(path, known[kind_of(path.name) or "utt"], non_print)
    if not faults and utt2spk_to_spk2utt(utts, spks) != read_spk2utt(data_dir / "spk2utt"):
        faults.append(f"{data_dir}: spk2utt and utt2spk do not match; utils/fix_data_dir.sh makes spk2utt anew")
    return faults


def exit_if_invalid(data_dir: str | Path, options: Collection[str], tool: str) -> None:
    """Check a directory and print what is wrong with it; exit status 1 if anything is.

    Args:
        data_dir: the directory.
        options: those of `utils/validate_data_dir.sh`, of `OPTIONS`.
        tool: the name that the messages begin with.
    """
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


def check_table(path: Path, known: KnownIds, non_print: bool = False) -> list[str]:
    """Find what is wrong with one table, reading it once and in blocks.

    Args:
        path: the table.
        known: the ids that it has to hold, sorted.
        non_print: whether non-printable characters are allowed.

    Returns:
        The first fault of each sort.
    """
    ids, faults = read_ids(path, known, non_print)
    if ids == known.ids:
        return faults
    if unknown := set(ids).difference(known.ids, [b""]):
        index = next(index for index, key in enumerate(ids) if key in unknown)
        faults.append(
            f"{path}:{index + 1}: {len(unknown)} ids are not in {source_of(path.name)}, first {show(ids[index])}; "
            "utils/fix_data_dir.sh leaves them out"
        )
    if path.name not in PARTIAL and (missing := set(known.ids).difference(ids)):
        faults.append(
            f"{path}: {len(missing)} ids of {source_of(path.name)} are missing, first {show(min(missing))}; "
            "utils/fix_data_dir.sh leaves them out everywhere"
        )
    return faults


def read_ids(path: Path, known: KnownIds | None = None, non_print: bool = False) -> tuple[list[bytes], list[str]]:
    """Read the ids of a table, and find what is wrong with its characters, the form of its lines and their order.

    Args:
        path: the table.
        known: the ids that it probably holds.
        non_print: whether non-printable characters are allowed.

    Returns:
        The id of every line, empty for a line that has none; and the first fault of each sort.
    """
    faults: dict[str, str] = {}

    def fault(sort: str, number: int, message: str) -> None:
        faults.setdefault(sort, f"{path}:{number}: {message}")

    known, form = known or KnownIds(), form_of(path.name)
    ids: list[bytes] = []
    with open(path, "rb") as stream:
        while block := stream.read(BLOCK_BYTES) + stream.readline():
            first = len(ids) + 1
            if not block.endswith(b"\n"):
                fault("end", first + block.count(b"\n"), "the last line has no newline; utils/fix_data_dir.sh adds it")
                block += b"\n"
            lines = block.split(b"\n")
            lines.pop()
            for sort, index, message in _character_faults(path.name, block, lines, non_print):
                fault(sort, first + index, message)
            if form and (index := form.first_fault(block)) is not None:
                fault("form", first + index, f"expected {form.description}, got {show(lines[index])}")
            ids += known.line_ids(path.name, lines, len(ids))
    for sort, index, message in order_faults(ids):
        fault(sort, index + 1, message)
    return ids, list(faults.values())


def _character_faults(name: str, block: bytes, lines: list[bytes], non_print: bool) -> Iterator[tuple[str, int, str]]:
    """Faults of the characters of some lines: their sort, the index of the line, and the message."""

    def where(is_at_fault: Callable[[bytes], object]) -> int:
        return next((index for index, line in enumerate(lines) if is_at_fault(line)), -1)

    if b"\r" in block:
        yield "CR", where(lambda line: b"\r" in line), "holds a carriage return; utils/fix_data_dir.sh removes it"
    if b"\t" in block and (index := where(TAB_AFTER_ID.match if name in MAY_HOLD_TABS else TAB.search)) >= 0:
        yield "tab", index, "holds a tab; utils/fix_data_dir.sh makes it a space"
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
    if (b"<s>" in block or b"</s>" in block or b"#0" in block) and (index := where(ILLEGAL_SYMBOL.search)) >= 0:
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
