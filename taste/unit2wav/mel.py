"""Mel spectrograms of speech, and speech from these and its pitch by Griffin-Lim."""

from __future__ import annotations

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor
from torchaudio.transforms import GriffinLim, InverseMelScale, MelSpectrogram, Spectrogram

from taste.audio import SAMPLE_RATE

MELS = 64
FRAME_RATE = 100  # frames a second
HOP = SAMPLE_RATE // FRAME_RATE
FFT = {"n_fft": 1024, "hop_length": HOP}
ANALYSIS_WINDOW = 512  # samples of a mel frame; short, so that it sees when things happen
WINDOW = 1024  # of a frame of Griffin-Lim; long, so that it keeps the harmonics of low voices apart
MEL = {"n_mels": MELS, "sample_rate": SAMPLE_RATE, "norm": "slaney", "mel_scale": "slaney"}
FLOOR = 1e-5  # of a magnitude, before the logarithm
ITERATIONS = 16  # of Griffin-Lim
SHORTEST = WINDOW // HOP  # frames that it can work on
VOICE_BELOW = 4000  # Hz; above, voiced speech is noise, too


def log_mel(samples: Tensor) -> Tensor:
    """Samples at 16 kHz (samples,) -> logarithms of mel magnitudes (frames, MELS), `FRAME_RATE` frames a second."""
    return _mel()(samples).clamp(min=FLOOR).log().T


def griffin_lim(mel: Tensor, f0: Tensor) -> Tensor:
    """Speech of a spectral envelope and a pitch: samples at 16 kHz (frames * hop,), within [-1, 1].

    The magnitudes are those of pulses and noise, shaped by the mel magnitudes. These alone would not do: 64 bands do
    not tell the harmonics of a low voice apart, and a network that cannot foresee them draws their mean: a whisper.

    Args:
        mel: logarithms of mel magnitudes (frames, MELS).
        f0: in Hz (frames,), 0 where there is no voice.

    Source: Griffin and Lim 1984, with the momentum of Perraudin et al. 2013, by torchaudio. The random numbers are
    always the same.
    """
    # silence to the end of the last frame's window, and as much as the transform needs at least
    silence = max(1, SHORTEST - len(mel))
    padded = F.pad(mel, (0, 0, 0, silence), value=math.log(FLOOR))
    inverse_mel, phases = _inverse()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        magnitudes = inverse_mel(padded.exp().T) * _excitation(F.pad(f0, (0, silence)))
        return phases(magnitudes).clamp(-1, 1)[: len(mel) * HOP]


def _excitation(f0: Tensor) -> Tensor:
    """Magnitudes (bins, frames) of a pulse each period below `VOICE_BELOW`, else of noise.

    Their unit is what a mel frame has of noise of variance 1, on average; the pulses have that power, too.
    """
    pitch = f0.double().repeat_interleave(HOP)
    pulses = (pitch / SAMPLE_RATE).cumsum(0).floor().diff(prepend=pitch.new_zeros(1))
    pulses *= (SAMPLE_RATE / pitch.clamp(min=1)).sqrt()
    signals = torch.stack((pulses.float(), torch.randn(len(pulses))))
    rayleigh_mean = math.sqrt(math.pi / 4 * float(_mel().spectrogram.window.square().sum()))
    pulsed, noise = _spectrum()(signals)[..., : len(f0)] / rayleigh_mean
    is_low = torch.arange(len(noise)) < VOICE_BELOW * FFT["n_fft"] / SAMPLE_RATE
    return torch.where(is_low[:, None] & (f0 > 0), pulsed, noise)


@cache
def _mel() -> MelSpectrogram:
    # padded with zeros, as what is shorter than half a transform cannot be reflected
    return MelSpectrogram(power=1.0, win_length=ANALYSIS_WINDOW, pad_mode="constant", **FFT, **MEL)


@cache
def _spectrum() -> Spectrogram:
    return Spectrogram(power=1.0, win_length=WINDOW, **FFT)


@cache
def _inverse() -> tuple[InverseMelScale, GriffinLim]:
    inverse_mel = InverseMelScale(FFT["n_fft"] // 2 + 1, **MEL)
    return inverse_mel, GriffinLim(power=1.0, win_length=WINDOW, n_iter=ITERATIONS, **FFT)
