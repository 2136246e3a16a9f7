"""Several data directories as one (`utils/combine_data.sh`)."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Sequence
from fnmatch import filter as matching
from pathlib import Path
from typing import NamedTuple

from taste.data_dir import (
    PARTIAL,
    keyed_lines,
    kind_of,
    links,
    new_tables,
    read_utt2spk,
    second_fields,
    show,
    spk2utt_lines,
    tables,
    utt2spk_to_spk2utt,
)
from taste.data_dir_copy import require_other_dir, set_aside_others
from taste.data_dir_fix import fix_data_dir
from taste.errors import RecipeError
from taste.files import atomic_path, read_json
from taste.units.record import PROPERTIES

logger = logging.getLogger(__name__)

MADE_WHERE_MISSING = ("segments", "utt2uniq")


class Record(NamedTuple):
    """The record of what made some tables, which belong together where the records agree in some properties."""

    name: str
    tables: str  # pattern of their names
    made_by: str
    properties: Sequence[str]


RECORDS_TO_AGREE = (
    Record("units.json", "utt2s3", "stage 5", PROPERTIES),
    Record("tokens.json", "utt2token", "stage 4", ("token_type", "vocab_size", "model_sha256")),
    Record(
        "feats.json",
        "feats_*.scp",
        "stage 4",
        ("model", "weights_sha256", "dim", "deep_layer", "shallow_layer", "frames_per_second", "pad_to_30s"),
    ),
    Record("spk_emb.json", "spk_emb.scp", "stage 6", ("backend", "dim", "sha256")),
    Record("taste.json", "utt2taste", "local/write_tokens.py", ("weights_sha256", "codebook_sizes")),
)


def combine_data(
    dest_dir: str | Path, data_dirs: Sequence[str | Path], extra_files: Sequence[str] = (), skip_fix: bool = False
) -> None:
    """Write a data directory with the utterances of several, as Kaldi's `combine_data.sh` does.

    Tables that every directory has are combined; `utt2words` also where only some have it; `utt2uniq` and `segments`
    are made for the directories that lack them where others have them. One table is in memory at a time, and the files
    appear together when all are complete.

    Args:
        dest_dir: the directory to write; what else it held goes to its `.backup`.
        data_dirs: the directories to combine.
        extra_files: further tables to combine, beside those that data directories are known to hold.
        skip_fix: leave out `fix_data_dir` at the end.

    Raises:
        RecipeError: a directory that is none; units, tokens, features or speaker embeddings of different making, with
            the first property that differs; an utterance or recording with different lines.
    """
    dest_dir = Path(dest_dir)
    sources = [require_other_dir(data_dir, dest_dir) for data_dir in data_dirs]
    names = _names_to_combine(sources, extra_files)
    records = _records(sources, names)
    shared_links = set.intersection(*(set(links(source).items()) for source in sources))
    utt2spk: dict[bytes, bytes] = {}
    for source in sources:
        utt2spk |= read_utt2spk(source / "utt2spk")
    with new_tables(dest_dir) as write:
        for name in sorted(names, key=lambda name: name != "utt2spk"):
            write(name, _combined(sources, name))
            logger.info("combined %s", name)
        write("spk2utt", spk2utt_lines(utt2spk_to_spk2utt(utt2spk, sorted(utt2spk))))
    for record in records:
        with atomic_path(dest_dir / record.name) as partial:
            shutil.copyfile(record, partial)
    for name, target in shared_links:
        with atomic_path(dest_dir / name) as partial:
            partial.symlink_to(target)
    set_aside_others(dest_dir, {*names, *(record.name for record in records), *dict(shared_links)})
    if not skip_fix:
        fix_data_dir(dest_dir)


def _names_to_combine(sources: Sequence[Path], extra_files: Sequence[str]) -> list[str]:
    """The names of the tables to combine, all but `spk2utt`; the others are named."""
    names_of = [
        {path.name for path in tables(source)} | {name for name in extra_files if (source / name).is_file()}
        for source in sources
    ]
    somewhere = set.union(*names_of, set(extra_files))
    combined = set.intersection(*names_of) | somewhere.intersection((*PARTIAL, *MADE_WHERE_MISSING))
    for name in sorted(somewhere - combined):
        logger.info("not combining %s as it does not exist everywhere", name)
    return sorted(combined - {"spk2utt"})


def _records(sources: Sequence[Path], names: Sequence[str]) -> list[Path]:
    """The records that go with the combined tables.

    Raises:
        RecipeError: those of two directories differ in what matters.
    """
    records = [
        sources[0] / record.name
        for record in RECORDS_TO_AGREE
        if matching(names, record.tables) and _agree(sources, record)
    ]
    shifts = [source / "frame_shift" for source in sources if (source / "frame_shift").is_file()]
    if not shifts or "feats.scp" not in names:
        return records
    for shift in shifts[1:]:
        if shift.read_text().split() != shifts[0].read_text().split():
            raise RecipeError(f"{shifts[0]} and {shift} differ, so features of both cannot be combined")
    return [*records, shifts[0]]


def _agree(sources: Sequence[Path], record: Record) -> bool:
    """Whether the directories have a record, which is the same in all that matters.

    Raises:
        RecipeError: some directories lack it, or it is not the same.
    """
    having = [source for source in sources if (source / record.name).is_file()]
    if not having:
        return False
    if lacking := [source for source in sources if source not in having]:
        raise RecipeError(
            f"{lacking[0] / record.name} is missing, so it is not known whether {record.tables} fits {having[0]}'s; "
            f"{record.made_by} makes it"
        )
    first, *others = (read_json(source / record.name, record.made_by) for source in sources)
    for source, other in zip(sources[1:], others, strict=True):
        for name in record.properties:
            if first.get(name) != other.get(name):
                raise RecipeError(
                    f"{record.name} of {sources[0]} and {source} differ in {name}: {first.get(name)} and "
                    f"{other.get(name)}; make {record.tables} of both with the same settings ({record.made_by})"
                )
    return True


def _combined(sources: Sequence[Path], name: str) -> Iterator[bytes]:
    """The lines of a table of all directories, sorted by id. Of a speaker the first line is kept.

    Raises:
        RecipeError: different lines of an utterance or a recording.
    """
    table: dict[bytes, bytes] = {}
    for source in sources:
        for keys, lines in _keyed_lines(source, name):
            block = dict(zip(keys, lines, strict=True))
            if len(block) < len(keys):
                twice = next(key for key in keys if keys.count(key) > 1)
                raise RecipeError(
                    f"{source / name}: {show(twice)} occurs twice; utils/fix_data_dir.sh {source} mends it"
                )
            known = {key: table[key] for key in table.keys() & block.keys()}
            different = [key for key, line in known.items() if line != block[key]]
            if different and kind_of(name) != "spk":
                raise RecipeError(
                    f"{source / name}: {show(min(different))} has another line in {name} of a directory before; "
                    "give its utterances another prefix (utils/copy_data_dir.sh --utt-prefix)"
                )
            table |= block | known
    return (table[key] for key in sorted(table))


def _keyed_lines(source: Path, name: str) -> Iterator[tuple[list[bytes], list[bytes]]]:
    """The ids and lines of a table, or those that stand for it where the directory lacks it."""
    if (source / name).is_file():
        yield from keyed_lines(source / name)
    elif name == "utt2uniq":
        utts = list(read_utt2spk(source / "utt2spk"))
        yield utts, [b"%b %b" % (utt, utt) for utt in utts]
    elif name == "segments":
        logger.info("making segments for %s, of utt2dur", source)
        if not (source / "utt2dur").is_file():
            raise RecipeError(f"{source} has neither segments nor utt2dur; utils/data/get_utt2dur.sh {source} makes it")
        utt2dur = second_fields(source / "utt2dur")
        yield list(utt2dur), [b"%b %b 0 %b" % (utt, utt, seconds) for utt, seconds in utt2dur.items()]
