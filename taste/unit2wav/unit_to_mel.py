"""The network that draws a mel spectrogram and the pitch from units and a speaker embedding."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taste.model.transformer import length_mask
from taste.unit2wav.mel import FRAME_RATE, MELS

KERNEL = 3


@dataclass(frozen=True)
class UnitToMelConfig:
    """Sizes of the network and how it is trained; the recipe's `conf/griffinlim.yaml`."""

    dim: int  # of the blocks at the rate of the units
    dilations: list[int]  # one for each of these blocks
    frame_dim: int  # of the blocks at the rate of the frames
    frame_dilations: list[int]
    max_hours: float  # of training speech; what there is beyond is left out
    epochs: int
    batch_frames: int  # mel frames of a batch, padding included
    learning_rate: float  # peak
    seed: int


class ConvolutionBlock(nn.Module):
    """A gated convolution over time, normalized before, with a way around it."""

    def __init__(self, dim: int, dilation: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.convolution = nn.Conv1d(dim, 2 * dim, KERNEL, padding="same", dilation=dilation)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        """(batch, time, dim) and (batch, time, 1), one where real and zero in padding -> (batch, time, dim)."""
        found = self.convolution((self.norm(x) * real).transpose(1, 2)).transpose(1, 2)
        return x + self.out(F.glu(found, dim=-1))


class UnitToMel(nn.Module):
    """Every unit becomes `frames` frames, seen with its neighbours on both sides.

    Of a frame it draws `MELS` mel values, log F0, and the logit of there being a voice. All but the last are
    normalized: each by the mean and the deviation that it has in training.
    """

    def __init__(self, config: UnitToMelConfig, units: int, spk_dim: int, frames: int) -> None:
        super().__init__()
        self.frames = frames
        self.unit_embedding = nn.Embedding(units, config.dim)
        self.spk_affine = nn.Linear(spk_dim, config.dim)
        self.unit_blocks = nn.ModuleList(ConvolutionBlock(config.dim, each) for each in config.dilations)
        self.up = nn.Linear(config.dim, frames * config.frame_dim)
        self.frame_blocks = nn.ModuleList(ConvolutionBlock(config.frame_dim, each) for each in config.frame_dilations)
        self.out = nn.Linear(config.frame_dim, MELS + 2)
        self.register_buffer("mean", torch.zeros(MELS + 1))
        self.register_buffer("deviation", torch.ones(MELS + 1))

    def forward(self, unit: Tensor, unit_length: Tensor, spk_emb: Tensor) -> Tensor:
        """Padding changes nothing that is real.

        Args:
            unit: (batch, units), ids; padding may be any valid id.
            unit_length: (batch,).
            spk_emb: (batch, spk_dim); its length does not count.

        Returns:
            (batch, units * frames, MELS + 2), normalized.
        """
        real = length_mask(unit_length, unit.shape[1])[..., None].float()
        x = self.unit_embedding(unit) + self.spk_affine(F.normalize(spk_emb, dim=1))[:, None]
        for block in self.unit_blocks:
            x = block(x, real)
        x = self.up(x).unflatten(2, (self.frames, -1)).flatten(1, 2)
        real = real.repeat_interleave(self.frames, dim=1)
        for block in self.frame_blocks:
            x = block(x, real)
        return self.out(x)

    def draw(self, unit: Tensor, spk_emb: Tensor) -> tuple[Tensor, Tensor]:
        """Draw the frames of one utterance.

        Args:
            unit: (units,).
            spk_emb: (spk_dim,).

        Returns:
            Logarithms of mel magnitudes (units * frames, MELS); and F0 in Hz (units * frames,), 0 without a voice.
        """
        drawn = self(unit[None], torch.tensor([len(unit)], device=unit.device), spk_emb[None])[0]
        values = drawn[:, :-1] * self.deviation + self.mean
        return values[:, :MELS], values[:, MELS].exp() * (drawn[:, -1] > 0)


def frames_per_unit(rate: int) -> int:
    """Mel frames that a unit lasts, at `rate` units a second: 100 is a multiple of 25 and 50."""
    return FRAME_RATE // rate
