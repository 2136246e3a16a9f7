"""Data directories in as many parts as there are jobs (`utils/split_data.sh`)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, chain, pairwise
from pathlib import Path

from taste.data_dir.contents import RECORDS, links, read_utt2spk, require_data_dir, tables
from taste.data_dir.parts import write_parts
from taste.errors import RecipeError


def split_data(data_dir: str | Path, parts: int, per_utt: bool = False) -> Path:
    """Split a data directory into `split<parts>/1` to `split<parts>/<parts>`, unless that has been done already.

    A speaker is in one part only and the parts are about equally long, as Kaldi's `split_data.sh` has it; with
    `per_utt` the utterances are split regardless of speakers, and the directory is named `split<parts>utt`.

    Returns:
        The directory of the parts.

    Raises:
        RecipeError: more parts than speakers (or utterances), or a directory that is none.
    """
    data_dir = require_data_dir(data_dir)
    split_dir = data_dir / f"split{parts}{'utt' if per_utt else ''}"
    part_dirs = [split_dir / str(number) for number in range(1, parts + 1)]
    if all(_is_up_to_date(data_dir, directory) for directory in part_dirs):
        return split_dir
    utts, spks = read_utt2spk(data_dir / "utt2spk")
    if per_utt:
        if parts > len(utts):
            raise RecipeError(f"{data_dir} has {len(utts)} utterances, too few for {parts} parts; use fewer jobs")
        # the first parts take what is left over, as in Kaldi
        bounds = [number * (len(utts) // parts) + min(number, len(utts) % parts) for number in range(parts + 1)]
        groups: list[Sequence[int]] = [range(start, end) for start, end in pairwise(bounds)]
    else:
        spk2positions: dict[bytes, list[int]] = {}
        for position, spk in enumerate(spks):
            spk2positions.setdefault(spk, []).append(position)
        if parts > len(spk2positions):
            raise RecipeError(
                f"{data_dir} has {len(spk2positions)} speakers, too few for {parts} parts; use fewer jobs, or --per-utt"
            )
        speakers = list(spk2positions.values())
        bounds = balanced_bounds([len(positions) for positions in speakers], parts)
        groups = [[*chain.from_iterable(speakers[start:end])] for start, end in pairwise(bounds)]
    write_parts(data_dir, utts, spks, groups, part_dirs)
    return split_dir


def balanced_bounds(sizes: Sequence[int], parts: int) -> list[int]:
    """Where to cut a list of speakers so that the parts hold about equally many utterances.

    From parts of equally many speakers on, a border moves by one speaker as long as that brings the sizes of the two
    parts beside it closer together; this is the rule, and in its order the result, of Kaldi's `split_scp.pl`.

    Args:
        sizes: utterances of each speaker, at least one.
        parts: at most the number of speakers.

    Returns:
        parts + 1 positions; part i holds the speakers from bounds[i] to bounds[i + 1].
    """
    total = [0, *accumulate(sizes)]
    bounds = [-(-number * len(sizes) // parts) for number in range(parts + 1)]

    def improves(border: int, position: int) -> bool:
        around = total[bounds[border - 1]] + total[bounds[border + 1]]
        return abs(2 * total[position] - around) < abs(2 * total[bounds[border]] - around)

    moved = True
    while moved:
        moved = False
        for part in range(parts):
            if part + 1 < parts and improves(part + 1, bounds[part + 1] - 1):
                bounds[part + 1] -= 1
                moved = True
            if part > 0 and improves(part, bounds[part] + 1):
                bounds[part] += 1
                moved = True
    return bounds


def _is_up_to_date(data_dir: Path, part_dir: Path) -> bool:
    """Whether no file of `data_dir` is missing from the part, or newer there than in it."""
    names = [path.name for path in tables(data_dir)] + [name for name in RECORDS if (data_dir / name).is_file()]
    for name in names:
        part = part_dir / name
        if not part.is_file() or part.stat().st_mtime_ns < (data_dir / name).stat().st_mtime_ns:
            return False
    return all(
        (part_dir / name).is_symlink() and str((part_dir / name).readlink()) == target
        for name, target in links(data_dir).items()
    )
