"""Several data directories as one (`utils/combine_data.sh`)."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Sequence
from fnmatch import filter as matching
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from taste.data_dir.contents import (
    PARTIAL,
    file_lines,
    is_ascending,
    kind_of,
    line_ids,
    links,
    new_tables,
    read_utt2spk,
    second_fields,
    show,
    spk2utt_lines,
    tables,
    utt2spk_to_spk2utt,
)
from taste.data_dir.copy import require_other_dir, set_aside_others
from taste.data_dir.fix import fix_data_dir
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
    are made for the directories that lack them where others have them. One table is in memory at a time, and they
    appear together when all are complete. Where they do not hold the same utterances, `fix_data_dir` follows.

    Args:
        dest_dir: the directory to write; what else it held goes to its `.backup`.
        data_dirs: the directories to combine.
        extra_files: further tables to combine, beside those that data directories are known to hold.
        skip_fix: leave out `fix_data_dir`.

    Raises:
        RecipeError: a directory that is none; units, tokens, features or speaker embeddings of different making, with
            the first property that differs; an utterance or recording with different lines.
    """
    dest_dir = Path(dest_dir)
    sources = [require_other_dir(data_dir, dest_dir) for data_dir in data_dirs]
    names = _names_to_combine(sources, extra_files)
    records = _records(sources, names)
    shared_links = set.intersection(*(set(links(source).items()) for source in sources))
    with new_tables(dest_dir) as write:
        utts, lines = _combined(sources, "utt2spk")
        write("utt2spk", lines)
        is_whole = True  # every table has all utterances
        for name in names:
            ids, lines = _combined(sources, name)
            write(name, lines)
            logger.info("combined %s", name)
            is_whole = is_whole and ids == utts
    for record in records:
        with atomic_path(dest_dir / record.name) as partial:
            shutil.copyfile(record, partial)
    for name, target in shared_links:
        with atomic_path(dest_dir / name) as partial:
            partial.symlink_to(target)
    set_aside_others(dest_dir, {*names, *(record.name for record in records), *dict(shared_links)})
    utts, spks = read_utt2spk(dest_dir / "utt2spk")
    if skip_fix or (is_whole and spks == sorted(spks)):
        with new_tables(dest_dir) as write:
            write("spk2utt", spk2utt_lines(utt2spk_to_spk2utt(utts, spks)))
    else:
        fix_data_dir(dest_dir)


def _names_to_combine(sources: Sequence[Path], extra_files: Sequence[str]) -> list[str]:
    """The names of the tables to combine, beside `utt2spk` and `spk2utt`; those that are not combined are named."""
    names_of = [
        {path.name for path in tables(source)} | {name for name in extra_files if (source / name).is_file()}
        for source in sources
    ]
    somewhere = set.union(*names_of, set(extra_files))
    combined = set.intersection(*names_of) | somewhere.intersection((*PARTIAL, *MADE_WHERE_MISSING))
    for name in sorted(somewhere - combined):
        logger.info("not combining %s as it does not exist everywhere", name)
    return sorted(combined - {"utt2spk", "spk2utt"})


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


def _combined(sources: Sequence[Path], name: str) -> tuple[list[bytes], list[bytes]]:
    """The ids and lines of a table of all directories, sorted, each line once.

    Raises:
        RecipeError: different lines of an utterance or a recording.
    """
    lines = sorted(line for source in sources for line in _lines(source, name) if line)
    ids = line_ids(name, lines)
    if not is_ascending(ids):
        lines = list(dict.fromkeys(lines))
        ids = line_ids(name, lines)
        repeated = next((one for one, two in pairwise(ids) if one == two), None)
        if repeated is not None and kind_of(name) != "spk":
            raise RecipeError(
                f"{name}: different lines for {show(repeated)}, so {' and '.join(map(str, sources))} cannot be "
                "combined; give the utterances of one another prefix (utils/copy_data_dir.sh --utt-prefix)"
            )
    return ids, lines


def _lines(source: Path, name: str) -> Iterable[bytes]:
    """The lines of a table, or those that stand for it where the directory lacks it."""
    if (source / name).is_file():
        return file_lines(source / name)
    if name == "utt2uniq":
        utts, _ = read_utt2spk(source / "utt2spk")
        return (b"%b %b" % (utt, utt) for utt in utts)
    if name == "segments":
        logger.info("making segments for %s, of utt2dur", source)
        if not (source / "utt2dur").is_file():
            raise RecipeError(f"{source} has neither segments nor utt2dur; utils/data/get_utt2dur.sh {source} makes it")
        return (b"%b %b 0 %b" % (utt, utt, seconds) for utt, seconds in second_fields(source / "utt2dur").items())
    return ()
