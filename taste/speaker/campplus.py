"""CAM++ (Wang et al. 2023, arXiv 2303.00332), the speaker encoder, in PyTorch; parameter names as 3D-Speaker's.

A small 2-D convolutional front end, then a densely connected time-delay network whose layers are gated by what they
see of the whole utterance and of the second around.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MEL_BINS = 80
DIM = 192
CHANNELS = 32  # of the front end, and what each dense layer adds
BOTTLENECK = 128
BLOCKS = ((12, 1), (24, 2), (16, 2))  # layers and dilation
SEGMENT = 100  # frames of the local context


class CAMPPlus(nn.Module):
    """Kaldi's fbank with its mean over time subtracted, (batch, frames, 80), to embeddings (batch, 192)."""

    def __init__(self) -> None:
        super().__init__()
        self.head = FrontEnd()
        parts = [("tdnn", Affine(CHANNELS * MEL_BINS // 8, BOTTLENECK, kernel=5, stride=2))]
        channels = BOTTLENECK
        for number, (layers, dilation) in enumerate(BLOCKS, start=1):
            names = [f"tdnnd{layer + 1}" for layer in range(layers)]
            dense = [DenseLayer(channels + layer * CHANNELS, dilation) for layer in range(layers)]
            channels += layers * CHANNELS
            parts += [
                (f"block{number}", nn.Sequential(OrderedDict(zip(names, dense, strict=True)))),
                (f"transit{number}", Transition(channels, channels // 2)),
            ]
            channels //= 2
        parts += [("out_nonlinear", activation(channels)), ("stats", Statistics()), ("dense", Embedding(2 * channels))]
        self.xvector = nn.Sequential(OrderedDict(parts))

    def forward(self, feats: Tensor) -> Tensor:
        """(batch, frames, 80) to (batch, 192)."""
        return self.xvector(self.head(feats.transpose(1, 2)))


class FrontEnd(nn.Module):
    """2-D convolutions that leave an eighth of the mel bins."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = convolution(1, (1, 1)), nn.BatchNorm2d(CHANNELS)
        self.layer1 = nn.Sequential(ResidualBlock(2), ResidualBlock(1))
        self.layer2 = nn.Sequential(ResidualBlock(2), ResidualBlock(1))
        self.conv2, self.bn2 = convolution(CHANNELS, (2, 1)), nn.BatchNorm2d(CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 80, frames) to (batch, 320, frames)."""
        x = F.relu(self.bn1(self.conv1(x[:, None])))
        x = self.layer2(self.layer1(x))
        return F.relu(self.bn2(self.conv2(x))).flatten(1, 2)


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut; `stride` is over the mel bins."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = convolution(CHANNELS, (stride, 1)), nn.BatchNorm2d(CHANNELS)
        self.conv2, self.bn2 = convolution(CHANNELS, (1, 1)), nn.BatchNorm2d(CHANNELS)
        self.shortcut = nn.Sequential()
        if stride > 1:
            pointwise = nn.Conv2d(CHANNELS, CHANNELS, 1, (stride, 1), bias=False)
            self.shortcut = nn.Sequential(pointwise, nn.BatchNorm2d(CHANNELS))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, CHANNELS, bins, frames) to (batch, CHANNELS, bins / stride, frames)."""
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


class Affine(nn.Module):
    """A convolution over time, then batch norm and ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
        self.nonlinear = activation(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, frames) to (batch, outputs, frames / stride)."""
        return self.nonlinear(self.linear(x))


class DenseLayer(nn.Module):
    """Appends CHANNELS channels to its input."""

    def __init__(self, inputs: int, dilation: int) -> None:
        super().__init__()
        self.nonlinear1 = activation(inputs)
        self.linear1 = nn.Conv1d(inputs, BOTTLENECK, 1, bias=False)
        self.nonlinear2 = activation(BOTTLENECK)
        self.cam_layer = ContextGate(dilation)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, frames) to (batch, inputs + CHANNELS, frames)."""
        return torch.cat((x, self.cam_layer(self.nonlinear2(self.linear1(self.nonlinear1(x))))), dim=1)


class ContextGate(nn.Module):
    """Context-aware masking: a convolution, gated by the means over the utterance and over the segment."""

    def __init__(self, dilation: int) -> None:
        super().__init__()
        self.linear_local = nn.Conv1d(BOTTLENECK, CHANNELS, 3, padding=dilation, dilation=dilation, bias=False)
        self.linear1 = nn.Conv1d(BOTTLENECK, BOTTLENECK // 2, 1)
        self.linear2 = nn.Conv1d(BOTTLENECK // 2, CHANNELS, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, BOTTLENECK, frames) to (batch, CHANNELS, frames)."""
        segments = F.avg_pool1d(x, SEGMENT, SEGMENT, ceil_mode=True).repeat_interleave(SEGMENT, -1)
        context = x.mean(-1, keepdim=True) + segments[..., : x.shape[-1]]
        return self.linear_local(x) * torch.sigmoid(self.linear2(F.relu(self.linear1(context))))


class Transition(nn.Module):
    """Batch norm and ReLU, then fewer channels."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.nonlinear = activation(inputs)
        self.linear = nn.Conv1d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, frames) to (batch, outputs, frames)."""
        return self.linear(self.nonlinear(x))


class Statistics(nn.Module):
    """Mean and standard deviation over time."""

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, frames) to (batch, 2 * channels)."""
        return torch.cat((x.mean(-1), x.std(-1)), dim=-1)


class Embedding(nn.Module):
    """A linear map, and batch norm without weights of its own."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(inputs, DIM, 1, bias=False)
        self.nonlinear = nn.Sequential(OrderedDict(batchnorm=nn.BatchNorm1d(DIM, affine=False)))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs) to (batch, DIM)."""
        return self.nonlinear(self.linear(x[..., None])[..., 0])


def activation(channels: int) -> nn.Sequential:
    """Batch norm and ReLU over (batch, channels, frames)."""
    return nn.Sequential(OrderedDict(batchnorm=nn.BatchNorm1d(channels), relu=nn.ReLU()))


def convolution(inputs: int, stride: tuple[int, int]) -> nn.Conv2d:
    """A 3 x 3 convolution to CHANNELS channels."""
    return nn.Conv2d(inputs, CHANNELS, 3, stride, padding=1, bias=False)
