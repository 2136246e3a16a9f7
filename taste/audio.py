"""Audio as the recipe reads it: one channel, 16 kHz, float32, at most 30 s."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import numpy as np
import soundfile

from taste.errors import RecipeError, UtteranceError

SAMPLE_RATE = 16000  # Whisper's, and that of every feature of the recipe
MAX_SECONDS = 30.0  # Whisper's window


def read_audio(source: str, allow_pipes: bool = False) -> tuple[np.ndarray, int]:
    """Read the right-hand side of a `wav.scp` line.

    Args:
        source: a path, or a shell command that ends in `|` and writes a sound file to its standard output.
        allow_pipes: whether such commands may be run. They run through the shell, as Kaldi runs them.

    Returns:
        Samples, float32 in [-1, 1], (samples,) or (samples, channels) as stored; and the sampling rate in Hz.

    Raises:
        RecipeError: a command, but `allow_pipes` is false.
        UtteranceError: the file is missing, is no sound file, or holds no samples or NaN.
    """
    if source.endswith("|"):
        stream: str | io.BytesIO = _command_output(source, allow_pipes)
    elif Path(source).is_file():
        stream = source
    else:
        raise UtteranceError(f"{source} does not exist")
    try:
        samples, rate = soundfile.read(stream, dtype="float32")
    except (soundfile.SoundFileError, OSError) as error:
        raise UtteranceError(f"{source} cannot be read as audio ({error})") from error
    if not len(samples):
        raise UtteranceError(f"{source} holds no samples")
    if not np.isfinite(samples).all():
        raise UtteranceError(f"{source} holds NaN or infinite samples")
    return samples, rate


def _command_output(source: str, allow_pipes: bool) -> io.BytesIO:
    if not allow_pipes:
        raise RecipeError(
            f"wav.scp holds a command ({source}); commands run through the shell, so only with --allow_pipes true"
        )
    result = subprocess.run(source[:-1], shell=True, capture_output=True)  # the user's own wav.scp, as in Kaldi
    if result.returncode:
        detail = result.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
        raise UtteranceError(f"command failed with status {result.returncode} ({detail[0]}): {source}")
    return io.BytesIO(result.stdout)


def read_speech(source: str, allow_pipes: bool = False) -> np.ndarray:
    """Read audio that stage 2 has made fit: one channel at 16 kHz, at most 30 s.

    Returns:
        Samples, float32, (samples,).

    Raises:
        RecipeError, UtteranceError: as `read_audio`, or the audio is not of that form.
    """
    samples, rate = read_audio(source, allow_pipes)
    if samples.ndim != 1:
        raise UtteranceError(f"{source} has {samples.shape[1]} channels, one is needed; stage 2 takes the mean")
    if rate != SAMPLE_RATE:
        raise UtteranceError(f"{source} is sampled at {rate} Hz, not {SAMPLE_RATE}; stage 2 resamples")
    if len(samples) > MAX_SECONDS * rate:
        raise UtteranceError(f"{source} lasts {len(samples) / rate:.1f} s; Whisper takes at most {MAX_SECONDS:.0f} s")
    return samples
