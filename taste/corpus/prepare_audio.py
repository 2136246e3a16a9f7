"""Stage 2: every `wav.scp` entry becomes a file of one channel at 16 kHz."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import soundfile

from taste.audio import MAX_SECONDS, SAMPLE_RATE, read_audio
from taste.errors import Skipped, UtteranceError
from taste.files import atomic_path
from taste.progress import progress
from taste.tables import read_table, write_table

logger = logging.getLogger(__name__)


def prepare_audio(data_dir: str | Path, wav_dir: str | Path, allow_pipes: bool = False) -> None:
    """Make `data_dir/wav.scp` name only files that the later stages can read.

    Files of one channel at 16 kHz stay where and as they are; of the others, and of commands, a copy in that form is
    written as 16-bit `wav_dir/<utt>.flac`, and `wav.scp` names the copy. Utterances that cannot be read or last over
    30 s are named, counted and taken out of `wav.scp` (`fix_data_dir` then takes them out of the other tables).

    Raises:
        RecipeError: no `wav.scp`, a command without `allow_pipes`, or not one utterance is usable.
    """
    data_dir, wav_dir = Path(data_dir), Path(wav_dir).absolute()
    wav_scp = read_table(data_dir / "wav.scp", "stage 1")
    skipped = Skipped(f"audio of {data_dir}")
    prepared: dict[str, str] = {}
    for utt, source in progress(wav_scp.items(), f"audio of {data_dir}", len(wav_scp)):
        try:
            prepared[utt] = source if _is_fit(source) else str(_write_fit(source, wav_dir / f"{utt}.flac", allow_pipes))
        except UtteranceError as error:
            skipped.add(utt, error)
    skipped.report(len(wav_scp))
    if prepared != wav_scp:
        write_table(data_dir / "wav.scp", prepared)
    changed = sum(source != wav_scp[utt] for utt, source in prepared.items())
    logger.info("%s: %d files were fit, %d are copies now", data_dir, len(prepared) - changed, changed)


def _is_fit(source: str) -> bool:
    """Whether the header of a file says one channel, 16 kHz, at most 30 s."""
    if not Path(source).is_file():
        return False
    try:
        info = soundfile.info(source)
    except soundfile.SoundFileError:
        return False
    return (info.channels, info.samplerate) == (1, SAMPLE_RATE) and 0 < info.duration <= MAX_SECONDS


def _write_fit(source: str, destination: Path, allow_pipes: bool) -> Path:
    if destination.exists():  # by a run that was stopped: stage 1 removes those of others
        return destination
    samples, rate = read_audio(source, allow_pipes)
    if len(samples) > MAX_SECONDS * rate:
        raise UtteranceError(f"{source} lasts {len(samples) / rate:.1f} s; Whisper takes at most {MAX_SECONDS:.0f} s")
    with atomic_path(destination) as partial:
        soundfile.write(partial, to_speech(samples, rate), SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return destination


def to_speech(samples: np.ndarray, rate: int) -> np.ndarray:
    """Mean of the channels, resampled to 16 kHz (windowed sinc, `torchaudio.functional.resample`).

    Args:
        samples: float32 in [-1, 1], (samples,) or (samples, channels).
        rate: their sampling rate, Hz.

    Returns:
        float32 in [-1, 1], (ceil(samples * 16000 / rate),).
    """
    import torch  # both take seconds to import, and most corpora are at 16 kHz already
    from torchaudio.functional import resample

    mono = samples if samples.ndim == 1 else samples.mean(axis=1)
    # the filter overshoots where the signal is near full scale; a 16-bit file would wrap or clip there anyway
    return resample(torch.from_numpy(mono), rate, SAMPLE_RATE).clamp(-1, 1).numpy()


def as_stage_2_leaves(samples: np.ndarray, rate: int) -> np.ndarray:
    """The samples that later stages get of audio in any form: those of stage 2's copy, unless it is fit.

    Args:
        samples: float32 in [-1, 1], (samples,) or (samples, channels).
        rate: their sampling rate, Hz.

    Returns:
        float32 in [-1, 1], (samples,), 16 kHz.
    """
    if (samples.ndim, rate) == (1, SAMPLE_RATE):
        return samples
    # soundfile writes 16 bits by 32767 and reads them by 32768
    return np.rint(to_speech(samples, rate) * np.float32(32767)) / np.float32(32768)
