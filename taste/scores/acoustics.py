"""Spectrum and pitch against the original's, frame by frame after dynamic time warping.

All by librosa, which speechmos needs anyway: its pYIN tracks F0 (Mauch and Dixon 2014), its DTW is exact and compiled.
Praat tracks F0 ten times faster, but is under the GPL. The mel-cepstral-distance package gives distortions, but not the
warping that F0 needs, and its FastDTW takes 50 times as long.
"""

from __future__ import annotations

from dataclasses import dataclass

import librosa
import numpy as np

from taste.audio import SAMPLE_RATE
from taste.errors import UtteranceError

F0_RATE = 100  # frames a second
HOP = SAMPLE_RATE // F0_RATE
WINDOW = 1024  # 64 ms: two periods of the lowest F0 and more
MELS = 40
COEFFICIENTS = 24  # mel cepstra 1 to 24, without the energy
F0_MIN, F0_MAX = 60.0, 500.0  # Hz
F0_RESOLUTION = 0.25  # semitones; pYIN's default of 0.1 takes four times as long
LEAST_VOICED = 10  # frames that both must have for a correlation


@dataclass(frozen=True)
class Acoustics:
    """What is compared of a waveform.

    Attributes:
        cepstra: (frames, COEFFICIENTS), mel cepstra in dB, 100 frames a second.
        f0: (frames,), Hz; NaN where the speech has no voice.
    """

    cepstra: np.ndarray
    f0: np.ndarray


@dataclass(frozen=True)
class Comparison:
    """A waveform against the original's: None where too few frames have a voice in both.

    Attributes:
        distortion: mel-cepstral distortion, dB.
        f0_correlation: Pearson's, of log F0.
        f0_rmse: root of the mean squared difference of log F0 (natural logarithm).
    """

    distortion: float
    f0_correlation: float | None
    f0_rmse: float | None


def analyse(samples: np.ndarray) -> Acoustics:
    """Mel cepstra and F0 of a waveform: float32 (samples,) at 16 kHz.

    Raises:
        UtteranceError: it is shorter than a window.
    """
    if len(samples) < WINDOW:
        raise UtteranceError(f"{len(samples)} samples are too few for a spectrum")
    cepstra = librosa.feature.mfcc(
        y=samples, sr=SAMPLE_RATE, n_mfcc=COEFFICIENTS + 1, n_mels=MELS, n_fft=WINDOW, hop_length=HOP
    )
    return Acoustics(cepstra[1:].T, track_f0(samples))


def track_f0(samples: np.ndarray, rate: int = F0_RATE) -> np.ndarray:
    """F0 in Hz of float32 (samples,) at 16 kHz: (frames,), `rate` values a second, NaN where there is no voice."""
    f0, _, _ = librosa.pyin(
        samples, fmin=F0_MIN, fmax=F0_MAX, sr=SAMPLE_RATE, frame_length=WINDOW, hop_length=SAMPLE_RATE // rate,
        resolution=F0_RESOLUTION,
    )  # fmt: skip
    return f0


def compare(original: Acoustics, other: Acoustics) -> Comparison:
    """Compare at the frames that DTW of the mel cepstra (Euclidean distance) puts beside each other.

    Warping takes the timing off, which duration consistency measures: a word that is said at another time, but with the
    same melody, counts as equal. F0 is compared where both have a voice, as in ESPnet's `evaluate_f0.py`.

    The distortion is the mean over the frames of sqrt(sum of d_k^2 / MELS), d_k the difference of coefficient k of the
    orthonormal cosine transform of the log mel power in dB. That is Kubichek's (1993) 10 sqrt(2) / ln 10 times the norm
    of the difference in cepstra of the natural-log amplitude: both are the RMS difference, in dB, of the smoothed mel
    spectra.
    """
    _, path = librosa.sequence.dtw(original.cepstra.T, other.cepstra.T)
    a, b = path.T
    difference = original.cepstra[a] - other.cepstra[b]
    distortion = float(np.mean(np.sqrt((difference**2).sum(1) / MELS)))
    pitch = np.log(np.stack((original.f0[a], other.f0[b])))  # (2, path)
    pitch = pitch[:, np.isfinite(pitch).all(0)]
    if pitch.shape[1] < LEAST_VOICED:
        return Comparison(distortion, None, None)
    rmse = float(np.sqrt(np.mean((pitch[0] - pitch[1]) ** 2)))
    if not pitch.std(1).all():  # a monotone has no correlation
        return Comparison(distortion, None, rmse)
    return Comparison(distortion, float(np.corrcoef(pitch)[0, 1]), rmse)
