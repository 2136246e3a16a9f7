"""How long utterances are: `utt2dur` and `utt2num_frames` (`utils/data/get_utt2dur.sh`, `get_utt2num_frames.sh`)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from taste.data_dir.contents import require_data_dir
from taste.errors import RecipeError, Skipped, UtteranceError
from taste.options import positive_float
from taste.progress import progress
from taste.tables import read_table, write_table

logger = logging.getLogger(__name__)

FRAME_SHIFT = 0.01  # seconds, Kaldi's
FRAME_OVERLAP = 0.015  # seconds by which a frame of 25 ms is longer than its shift


def make_utt2dur(
    data_dir: str | Path,
    frame_shift: float = FRAME_SHIFT,
    read_entire_file: bool = False,
    allow_pipes: bool = False,
    nj: int = 4,
) -> bool:
    """Write `utt2dur` unless it is there for all utterances, as Kaldi's `get_utt2dur.sh` does.

    Durations come from `segments`; or else from `utt2num_frames` where `frame_shift` is known, from the headers of the
    files in `wav.scp`, or from `feats.scp`. Utterances that have none are named and left out.

    Args:
        data_dir: the directory.
        frame_shift: of `feats.scp`, in seconds, where there is no file `frame_shift`.
        read_entire_file: count the samples of files rather than believe their headers.
        allow_pipes: whether commands in `wav.scp` may be run; what they write is always read to its end.
        nj: how many files are read at the same time.

    Returns:
        Whether the file was written.

    Raises:
        RecipeError: there is nothing to tell the durations from, or more than half of the utterances have none; a
            malformed line, with its file and number.
    """
    data_dir = require_data_dir(data_dir)
    utts = read_table(data_dir / "utt2spk")
    if (data_dir / "utt2dur").is_file() and len(read_table(data_dir / "utt2dur")) == len(utts):
        return False
    shift_file = data_dir / "frame_shift"
    if shift_file.is_file():
        frame_shift = positive_float(str(shift_file), shift_file.read_text().strip())

    def seconds_of_frames(frames: float) -> float:
        return (frames + FRAME_OVERLAP / FRAME_SHIFT) * frame_shift  # as Kaldi takes it, whatever the shift

    if (data_dir / "segments").is_file():
        seconds = _of_lines(data_dir / "segments", _seconds_of_segment)
    elif shift_file.is_file() and (data_dir / "utt2num_frames").is_file():
        seconds = _of_lines(data_dir / "utt2num_frames", lambda frames: seconds_of_frames(int(frames)))
    elif (data_dir / "wav.scp").is_file():
        seconds = _seconds_of_audio(data_dir, read_entire_file, allow_pipes, nj)
    elif (data_dir / "feats.scp").is_file():
        seconds = {utt: seconds_of_frames(frames) for utt, frames in _frames_of_features(data_dir, nj).items()}
    else:
        raise RecipeError(f"{data_dir} has none of segments, wav.scp and feats.scp to tell durations from")
    if 2 * len(seconds) < len(utts):
        raise RecipeError(f"only {len(seconds)} of {len(utts)} utterances of {data_dir} have a duration; see above")
    write_table(data_dir / "utt2dur", {utt: f"{value:.6g}" for utt, value in seconds.items()})
    return True


def make_utt2num_frames(
    data_dir: str | Path,
    frame_shift: float = FRAME_SHIFT,
    frame_overlap: float = FRAME_OVERLAP,
    allow_pipes: bool = False,
    nj: int = 4,
) -> bool:
    """Write `utt2num_frames` unless it is there, as Kaldi's `get_utt2num_frames.sh` does.

    The numbers are those of `feats.scp`, or without it those that the durations make.

    Args:
        data_dir: the directory.
        frame_shift: seconds from one frame to the next.
        frame_overlap: seconds by which a frame is longer than that.
        allow_pipes: as in `make_utt2dur`, which is called where durations are needed, as is `nj`.
        nj: how many files are read at the same time.

    Returns:
        Whether the file was written.

    Raises:
        RecipeError: as `make_utt2dur`.
    """
    data_dir = require_data_dir(data_dir)
    path = data_dir / "utt2num_frames"
    if path.is_file() and path.stat().st_size:
        return False
    if (data_dir / "feats.scp").is_file():
        frames = _frames_of_features(data_dir, nj)
    else:
        make_utt2dur(data_dir, allow_pipes=allow_pipes, nj=nj)
        frames = _of_lines(data_dir / "utt2dur", lambda seconds: (float(seconds) - frame_overlap) / frame_shift)
    write_table(path, {utt: str(int(number)) for utt, number in frames.items()})
    return True


def _of_lines(path: Path, measure: Callable[[str], float]) -> dict[str, float]:
    """The measure of each line of a table.

    Raises:
        RecipeError: a line that has none, with file and line.
    """
    measured: dict[str, float] = {}
    for number, (utt, value) in enumerate(read_table(path).items(), start=1):
        try:
            measured[utt] = measure(value)
        except ValueError as error:
            raise RecipeError(
                f"{path}:{number}: '{utt} {value}' is malformed; utils/fix_data_dir.sh {path.parent} leaves it out"
            ) from error
    return measured


def _seconds_of_segment(segment: str) -> float:
    _, start, end = segment.split()
    return float(end) - float(start)


def _seconds_of_audio(data_dir: Path, read_entire_file: bool, allow_pipes: bool, nj: int) -> dict[str, float]:
    import soundfile  # like numpy, not needed where durations are known already

    from taste.audio import read_audio

    def seconds(source: str) -> float:
        if read_entire_file or source.endswith("|"):
            samples, rate = read_audio(source, allow_pipes)
            return len(samples) / rate
        try:
            return soundfile.info(source).duration
        except (soundfile.SoundFileError, OSError) as error:
            raise UtteranceError(f"{source} cannot be read as audio ({error})") from error

    return _of_files(read_table(data_dir / "wav.scp"), seconds, f"durations of {data_dir}", nj)


def _frames_of_features(data_dir: Path, nj: int) -> dict[str, float]:
    from taste.archives import read_array

    locations = read_table(data_dir / "feats.scp")
    return _of_files(locations, lambda location: len(read_array(location)), f"frames of {data_dir}", nj)


def _of_files(files: dict[str, str], measure: Callable[[str], float], what: str, nj: int) -> dict[str, float]:
    """The measure of the file of each utterance, `nj` at the same time; those at fault are named and left out."""

    def attempt(file: str) -> float | UtteranceError:
        try:
            return measure(file)
        except UtteranceError as error:
            return error

    skipped = Skipped(what)
    measured: dict[str, float] = {}
    with ThreadPoolExecutor(nj) as pool:
        results = progress(pool.map(attempt, files.values()), what, len(files))
        for utt, result in zip(files, results, strict=True):
            if isinstance(result, UtteranceError):
                skipped.add(utt, result)
            else:
                measured[utt] = result
    skipped.report(len(files))
    return measured
