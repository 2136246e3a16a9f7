"""Several data directories as one (`utils/combine_data.sh`)."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from fnmatch import fnmatch
from itertools import islice
from pathlib import Path

from taste.data_dir import (
    PARTIAL,
    RECORDS,
    is_ascending,
    kind_of,
    line_blocks,
    line_ids,
    links,
    read_utt2spk,
    show,
    spk2utt_lines,
    tables,
    utt2spk_to_spk2utt,
)
from taste.data_dir_copy import require_other_dir, set_aside_others, write_sorted
from taste.data_dir_fix import fix_data_dir
from taste.errors import RecipeError
from taste.files import atomic_path, read_json
from taste.units.record import PROPERTIES

logger = logging.getLogger(__name__)

# Tables, the record that goes with them and the stage that makes both, and the properties in which records have to
# agree for the tables to belong together.
COMPARED: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("utt2s3", "units.json", "stage 5", PROPERTIES),
    ("utt2token", "tokens.json", "stage 4", ("token_type", "vocab_size", "model_sha256")),
    (
        "feats_*.scp",
        "feats.json",
        "stage 4",
        ("model", "weights_sha256", "dim", "deep_layer", "shallow_layer", "frames_per_second", "pad_to_30s"),
    ),
    ("spk_emb.scp", "spk_emb.json", "stage 6", ("backend", "dim", "sha256")),
)


def combine_data(
    dest_dir: str | Path, data_dirs: Sequence[str | Path], extra_files: Sequence[str] = (), skip_fix: bool = False
) -> None:
    """Write a data directory with the utterances of several, as Kaldi's `combine_data.sh` does.

    Tables that every directory has are combined; `utt2words` also where only some have it; `utt2uniq` and `segments`
    are made for the directories that lack them where others have them. One table is in memory at a time.

    Args:
        dest_dir: the directory to write; what else it held goes to its `.backup`.
        data_dirs: the directories to combine.
        extra_files: further tables to combine, beside those that data directories are known to hold.
        skip_fix: leave out `fix_data_dir` at the end.

    Raises:
        RecipeError: a directory that is none; units, tokens, features or speaker embeddings of different making, with
            the first property that differs; an utterance or recording of different content in two directories.
    """
    dest_dir = Path(dest_dir)
    sources = [require_other_dir(data_dir, dest_dir) for data_dir in data_dirs]
    names_of = [{path.name for path in tables(source)} for source in sources]
    everywhere, somewhere = set.intersection(*names_of), set.union(*names_of)
    combined = everywhere | somewhere.intersection((*PARTIAL, "utt2uniq", "segments"))
    combined |= {name for name in extra_files if all((source / name).is_file() for source in sources)}
    records = _common_records(sources, combined)
    for name in sorted((somewhere | set(extra_files)) - combined):
        logger.info("not combining %s as it does not exist everywhere", name)
    for name in sorted(combined - {"spk2utt"}, key=lambda name: (name == "utt2spk", name)):
        lines = [line for source in sources for line in _lines_of(source, name)]
        write_sorted(dest_dir / name, _without_repetitions(name, lines, dest_dir))
        logger.info("combined %s", name)
    write_sorted(dest_dir / "spk2utt", spk2utt_lines(utt2spk_to_spk2utt(*read_utt2spk(dest_dir / "utt2spk"))))
    for name in records:
        with atomic_path(dest_dir / name) as partial:
            shutil.copyfile(records[name], partial)
    common_links = set.intersection(*(set(links(source).items()) for source in sources))
    for name, target in sorted(common_links):
        with atomic_path(dest_dir / name) as partial:
            partial.symlink_to(target)
    set_aside_others(dest_dir, combined | {*records, *(name for name, _ in common_links)})
    if not skip_fix:
        fix_data_dir(dest_dir)


def _common_records(sources: Sequence[Path], combined: set[str]) -> dict[str, Path]:
    """The records that go with the combined tables, each of the first directory that has it.

    Raises:
        RecipeError: those of two directories differ in what matters.
    """
    records: dict[str, Path] = {}
    for pattern, name, stage, properties in COMPARED:
        having = [source for source in sources if (source / name).is_file()]
        if not having or not any(fnmatch(table, pattern) for table in combined):
            continue
        if len(having) < len(sources):
            lacking = next(source for source in sources if source not in having)
            raise RecipeError(f"{lacking / name} is missing, so it is not known whether {pattern} fits {having[0]}'s")
        first, *others = (read_json(source / name, stage) for source in sources)
        for source, other in zip(sources[1:], others, strict=True):
            if differing := next((key for key in properties if first.get(key) != other.get(key)), None):
                raise RecipeError(
                    f"{name} of {sources[0]} and {source} differ in {differing}: {first.get(differing)} and "
                    f"{other.get(differing)}; make {pattern} of both with the same settings ({stage})"
                )
        records[name] = having[0] / name
    shifts = [source / "frame_shift" for source in sources if (source / "frame_shift").is_file()]
    if shifts and "feats.scp" in combined:
        for shift in shifts[1:]:
            if shift.read_bytes().split() != shifts[0].read_bytes().split():
                raise RecipeError(f"{shifts[0]} and {shift} differ, so features of both cannot be combined")
        records["frame_shift"] = shifts[0]
    return {name: records[name] for name in RECORDS if name in records}


def _lines_of(source: Path, name: str) -> list[bytes]:
    """The lines of a table, or those that stand for it where the directory lacks `utt2uniq` or `segments`."""
    if not (source / name).is_file():
        if name in PARTIAL:
            return []
        if name == "utt2uniq":
            return [b"%b %b" % (utt, utt) for utt in read_utt2spk(source / "utt2spk")[0]]
        logger.info("making segments for %s, of utt2dur", source)
        if not (source / "utt2dur").is_file():
            raise RecipeError(f"{source} has neither segments nor utt2dur; utils/data/get_utt2dur.sh {source} makes it")
        return [b"%b %b 0 %b" % (line.split()[0], *line.split()) for line in _read(source / "utt2dur")]
    return _read(source / name)


def _read(path: Path) -> list[bytes]:
    return [line for lines in line_blocks(path) for line in lines if line.strip()]


def _without_repetitions(name: str, lines: list[bytes], dest_dir: Path) -> list[bytes]:
    """Sorted lines, each once.

    Raises:
        RecipeError: two lines of an utterance or a recording that are not the same.
    """
    lines.sort()
    ids = line_ids(name, lines)
    if is_ascending(ids):
        return lines
    lines = list(dict.fromkeys(lines))
    ids = line_ids(name, lines)
    repeated = next((one for one, two in zip(ids, islice(ids, 1, None)) if one == two), None)  # noqa: B905
    if repeated is None or kind_of(name) == "spk":
        return lines
    raise RecipeError(
        f"{name}: directories have different lines for {show(repeated)}, so they cannot be combined in {dest_dir}; "
        "give the utterances of one another prefix (utils/copy_data_dir.sh --utt-prefix)"
    )
