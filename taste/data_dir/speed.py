"""Data directories at another speed of speech (`utils/perturb_data_dir_speed.sh`)."""

from __future__ import annotations

import logging
import re
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

from taste.data_dir.contents import RECORDS, links, tables
from taste.data_dir.copy import Renaming, Renamings, require_other_dir, set_aside_others, write_renamed
from taste.data_dir.fix import fix_data_dir
from taste.data_dir.lengths import make_utt2dur
from taste.errors import RecipeError
from taste.files import atomic_path
from taste.options import positive_float

logger = logging.getLogger(__name__)

SHORTEST_SEGMENT = 0.01  # seconds; shorter ones are left out, as in Kaldi
ARCHIVE_OFFSET = re.compile(r":\d+$")
UNCHANGED = (
    "utt2spk", "spk2utt", "utt2uniq", "utt2lang", "text", "utt2token", "utt2word_tokens", "spk2gender",
    "reco2file_and_channel", "tokens.json",
)  # fmt: skip


def perturb_data_dir_speed(
    factor: str, data_dir: str | Path, dest_dir: str | Path, include_spk_prefix: bool = True
) -> None:
    """Write a data directory whose audio is faster by a factor, as Kaldi's `perturb_data_dir_speed.sh` does.

    Commands in `wav.scp` have sox change the speed when the audio is read. `segments`, `utt2dur`, `reco2dur` and
    `utt2words` follow; text tokens stay; what is made from audio is left out and named. Utterances, recordings and
    speakers get the prefix `sp<factor>-`, and `utt2uniq` tells the old names.

    Args:
        factor: more than 1 is faster; as it is to stand in the names.
        data_dir: the directory; where it lacks `utt2dur`, that is made.
        dest_dir: the directory to write.
        include_spk_prefix: else the speakers keep their names, and utterances and recordings get a suffix.

    Raises:
        RecipeError: the factor is none, sox is missing, or a directory is none.
    """
    speed = positive_float("<warping-factor>", factor)
    if shutil.which("sox") is None:
        raise RecipeError("sox is not found, which changes the speed; install it (apt install sox)")
    data_dir, dest_dir = require_other_dir(data_dir, dest_dir), Path(dest_dir)
    make_utt2dur(data_dir)
    changed = {
        "wav.scp": lambda line: _audio_at_speed(line, factor),
        "segments": lambda line: _segment_at_speed(line, speed),
        "utt2dur": lambda line: _duration_at_speed(line, speed),
        "reco2dur": lambda line: _duration_at_speed(line, speed),
        "utt2words": lambda line: _words_at_speed(line, speed),
    }
    names = [path.name for path in tables(data_dir)] + [name for name in RECORDS if (data_dir / name).is_file()]
    left_out = [name for name in names if name not in UNCHANGED and name not in changed]
    if left_out or links(data_dir):
        logger.warning("left out, as the audio is another: %s", ", ".join([*left_out, *links(data_dir)]))

    def change(name: str, lines: Sequence[bytes]) -> Sequence[bytes]:
        return lines if name in UNCHANGED else [line for line in map(changed[name], lines) if line]

    prefix, suffix = f"sp{factor}-".encode(), f"-sp{factor}".encode()
    utt = Renaming(prefix=prefix) if include_spk_prefix else Renaming(suffix=suffix)
    spk = Renaming(prefix=prefix) if include_spk_prefix else Renaming()
    written = write_renamed(data_dir, dest_dir, Renamings(utt, spk, utt), change, left_out)
    copied = {"tokens.json": data_dir / "tokens.json"}
    if not (data_dir / "segments").is_file():
        # recordings are utterances then; without the file lhotse would run each command to learn its duration
        copied["reco2dur"] = dest_dir / "utt2dur"
    copied = {name: source for name, source in copied.items() if source.is_file() and name not in written}
    for name, source in copied.items():
        with atomic_path(dest_dir / name) as partial:
            shutil.copyfile(source, partial)
    set_aside_others(dest_dir, [*written, *copied])
    fix_data_dir(dest_dir)


def _audio_at_speed(line: bytes, factor: str) -> bytes:
    key, source = line.decode().split(None, 1)
    return f"{key} {command_at_speed(source.strip(), factor)}".encode()


def command_at_speed(source: str, factor: str) -> str:
    """The right-hand side of a `wav.scp` line that has sox change the speed of another.

    Args:
        source: a path, `archive:offset`, or a command that ends in `|`.
        factor: what the speed is multiplied with.
    """
    change = f"-t wav - speed {factor} |"
    if source.endswith("|"):
        return f"{source[:-1].rstrip()} | sox -t wav - {change}"
    if ARCHIVE_OFFSET.search(source):
        return f"wav-copy {shlex.quote(source)} - | sox -t wav - {change}"
    # of other files sox tells the format by their names
    form = "-t wav " if Path(source).suffix.lower() in ("", ".wav") else ""
    return f"sox {form}{shlex.quote(source)} {change}"


def _segment_at_speed(line: bytes, speed: float) -> bytes | None:
    """The segment, or None if it is too short then."""
    utt, reco, *times = line.split()
    start, end = (float(time) / speed for time in times)
    return b"%b %b %.2f %.2f" % (utt, reco, start, end) if end > start + SHORTEST_SEGMENT else None


def _duration_at_speed(line: bytes, speed: float) -> bytes:
    key, seconds = line.split()
    return b"%b %.6g" % (key, float(seconds) / speed)


def _words_at_speed(line: bytes, speed: float) -> bytes:
    utt, *fields = line.split()
    for index in range(len(fields)):
        if index % 3:  # a word, its start, its end
            fields[index] = b"%.3f" % (float(fields[index]) / speed)
    return b" ".join([utt, *fields])
