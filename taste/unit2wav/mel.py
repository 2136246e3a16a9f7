"""Mel spectrograms of speech, and speech from them by Griffin-Lim."""

from __future__ import annotations

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor
from torchaudio.transforms import GriffinLim, InverseMelScale, MelSpectrogram

from taste.audio import SAMPLE_RATE

MELS = 64
FRAME_RATE = 100  # frames a second
FFT = {"n_fft": 512, "win_length": 512, "hop_length": SAMPLE_RATE // FRAME_RATE}
MEL = {"n_mels": MELS, "sample_rate": SAMPLE_RATE, "norm": "slaney", "mel_scale": "slaney"}
FLOOR = 1e-5  # of a magnitude, before the logarithm
ITERATIONS = 32  # of Griffin-Lim
SHORTEST = FFT["n_fft"] // FFT["hop_length"]  # frames that it can work on


def log_mel(samples: Tensor) -> Tensor:
    """Samples at 16 kHz (samples,) -> logarithms of mel magnitudes (frames, MELS), `FRAME_RATE` frames a second."""
    return _mel()(samples).clamp(min=FLOOR).log().T


def griffin_lim(mel: Tensor) -> Tensor:
    """Logarithms of mel magnitudes (frames, MELS) -> samples at 16 kHz (frames * hop,), within [-1, 1].

    Source: Griffin and Lim 1984, with the momentum of Perraudin et al. 2013, by torchaudio. The phases that it begins
    with are always the same.
    """
    inverse_mel, phases = _inverse()
    # silence to the end of the last frame's window, and as much as the transform needs at least
    silence = max(1, SHORTEST - len(mel))
    padded = F.pad(mel, (0, 0, 0, silence), value=math.log(FLOOR))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return phases(inverse_mel(padded.exp().T)).clamp(-1, 1)[: len(mel) * FFT["hop_length"]]


@cache
def _mel() -> MelSpectrogram:
    return MelSpectrogram(power=1.0, **FFT, **MEL)


@cache
def _inverse() -> tuple[InverseMelScale, GriffinLim]:
    return InverseMelScale(FFT["n_fft"] // 2 + 1, **MEL), GriffinLim(power=1.0, n_iter=ITERATIONS, **FFT)
