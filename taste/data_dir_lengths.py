"""How long utterances are: `utt2dur` and `utt2num_frames` (`utils/data/get_utt2dur.sh`, `get_utt2num_frames.sh`)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from taste.data_dir import require_data_dir
from taste.errors import RecipeError, Skipped, UtteranceError
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
        RecipeError: there is nothing to tell the durations from, or more than half of the utterances have none.
    """
    data_dir = require_data_dir(data_dir)
    utts = read_table(data_dir / "utt2spk")
    if (data_dir / "utt2dur").is_file() and len(read_table(data_dir / "utt2dur")) == len(utts):
        return False
    shift_file = data_dir / "frame_shift"
    if shift_file.is_file():
        frame_shift = float(shift_file.read_text())
    if (data_dir / "segments").is_file():
        segments = {utt: line.split() for utt, line in read_table(data_dir / "segments").items()}
        seconds = {utt: float(end) - float(start) for utt, (_, start, end) in segments.items()}
    elif shift_file.is_file() and (data_dir / "utt2num_frames").is_file():
        seconds = _seconds_of_frames(read_table(data_dir / "utt2num_frames"), frame_shift)
    elif (data_dir / "wav.scp").is_file():
        seconds = recording_seconds(data_dir, read_entire_file, allow_pipes, nj)
    elif (data_dir / "feats.scp").is_file():
        seconds = _seconds_of_frames(_frames_of_features(data_dir, nj), frame_shift)
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
        seconds = read_table(data_dir / "utt2dur")
        frames = {utt: str(int((float(value) - frame_overlap) / frame_shift)) for utt, value in seconds.items()}
    write_table(path, frames)
    return True


def recording_seconds(
    data_dir: Path, read_entire_file: bool = False, allow_pipes: bool = False, nj: int = 4
) -> dict[str, float]:
    """The duration of each recording of `wav.scp`, in seconds; those that cannot be read are named and left out.

    Args:
        data_dir: the directory.
        read_entire_file: as in `make_utt2dur`, as are the others.
        allow_pipes: whether commands may be run.
        nj: how many files are read at the same time.

    Raises:
        RecipeError: a command, but `allow_pipes` is false; or not one recording can be read.
    """
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

    return _of_each(read_table(data_dir / "wav.scp"), seconds, f"durations of {data_dir}", nj)


def _frames_of_features(data_dir: Path, nj: int) -> dict[str, str]:
    from taste.archives import read_array

    locations = read_table(data_dir / "feats.scp")
    frames = _of_each(locations, lambda location: float(len(read_array(location))), f"frames of {data_dir}", nj)
    return {utt: str(int(number)) for utt, number in frames.items()}


def _seconds_of_frames(frames: dict[str, str], frame_shift: float) -> dict[str, float]:
    overlap = FRAME_OVERLAP / FRAME_SHIFT  # in frames, as Kaldi takes it whatever the shift
    return {utt: (int(number) + overlap) * frame_shift for utt, number in frames.items()}


def _of_each(table: dict[str, str], measure: Callable[[str], float], what: str, nj: int) -> dict[str, float]:
    """The measure of each value of a table; those at fault are named and left out."""

    def attempt(value: str) -> float | UtteranceError:
        try:
            return measure(value)
        except UtteranceError as error:
            return error

    skipped = Skipped(what)
    measured: dict[str, float] = {}
    with ThreadPoolExecutor(nj) as pool:
        results = progress(pool.map(attempt, table.values()), what, len(table))
        for key, result in zip(table, results, strict=True):
            if isinstance(result, UtteranceError):
                skipped.add(key, result)
            else:
                measured[key] = result
    skipped.report(len(table))
    return measured
