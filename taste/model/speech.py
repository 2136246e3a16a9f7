"""The speech side of the joint model: aggregator, pooling, quantizer, and the way to the LM's width."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from taste.config import ModelConfig
from taste.model.aggregator import Aggregator, AttentionAggregator, LayerMixAggregator, SpeechQueryAggregator
from taste.model.batch import Batch
from taste.model.quantizer import QUANTIZERS
from taste.model.sequences import padded, unpadded
from taste.model.transformer import CausalEncoder, length_mask
from taste.model.whisper_aggregator import WhisperAggregator, WhisperAttentionAggregator

AGGREGATORS: dict[str, type[Aggregator]] = {
    "attention": AttentionAggregator,
    "layer_mix": LayerMixAggregator,
    "speech_query": SpeechQueryAggregator,
    "whisper": WhisperAggregator,
    "whisper_attention": WhisperAttentionAggregator,
}


@dataclass
class Speech:
    """What the speech side says of a batch."""

    z: Tensor  # (batch, text, dim)
    length: Tensor  # (batch,), how many of its rows are real
    attention: Tensor | None  # (batch, heads, text, frames); None where the layers were not looked at
    code: Tensor | None  # (batch, text, codebooks), the TASTE tokens; None without quantizer
    commitment: Tensor  # loss that keeps what is quantized near its codes; zero without quantizer


class SpeechSide(nn.Module):
    """From layers of the speech encoder to `z` at the LM's width.

    The last layer starts at zero, so that training begins at exactly the text-only model that it is started from.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.pooling = config.pooling
        self.aggregator = AGGREGATORS[config.aggregator](config)
        self.quantizer = QUANTIZERS[config.quantizer](config) if config.quantizer != "none" else None
        blocks, width = config.speech_encoder_blocks, config.aggregator_dim
        self.encoder = None
        if blocks:
            self.encoder = CausalEncoder(
                "conformer", width, dim=config.dim, heads=config.attention_heads, linear_units=config.linear_units,
                blocks=blocks, dropout=config.dropout,
            )  # fmt: skip
        self.affine = nn.Linear(config.dim if blocks else width, config.dim)
        nn.init.zeros_(self.affine.weight)
        nn.init.zeros_(self.affine.bias)
        self.fusion = Fusion(config.fusion)

    @property
    def reader(self) -> nn.Linear:
        """The linear layer that reads the quantizer's output."""
        return self.affine if self.encoder is None else self.encoder.embed.out[0]

    def forward(self, text: Tensor, batch: Batch) -> Speech:
        """`z` of a batch, from its layers, what was found in them, or its TASTE tokens; or as the batch brings it.

        Args:
            text: (batch, text, dim), `v`.
        """
        mask = length_mask(batch.text_length, text.shape[1])
        attention, code, commitment = None, batch.code, text.new_zeros(())
        if batch.z is not None:
            return Speech(batch.z, batch.text_length, attention, code, commitment)
        if code is not None:
            z = self.quantizer.decode(code)
        else:
            z, attention = self.aggregate(text, batch)
            if self.quantizer is not None and self.quantizer.is_on:
                z, code, commitment = self.quantizer(z, mask)
        if self.encoder is not None:
            z = self.encoder(z)
        length = batch.text_length if batch.frames is None else self.aggregator.length(batch.text_length, batch.frames)
        return Speech(self.affine(z), length, attention, code, commitment)

    def aggregate(self, text: Tensor, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """The aggregator's output after pooling, (batch, text, aggregator_dim), and its attention, as in `Speech`."""
        if batch.found is not None:
            z, attention = self.aggregator.read(batch.found), None
        else:
            layers = batch.float_layers()
            z, attention = self.aggregator(text, batch.text_token, batch.text_length, layers, batch.frames)
        if self.pooling == "word":
            z = mean_by_group(z, batch.word)
        elif self.pooling == "utterance":
            z = mean_by_group(z, torch.where(length_mask(batch.text_length, z.shape[1]), 0, 1))
        return z, attention


def mean_by_group(x: Tensor, group: Tensor) -> Tensor:
    """Give each position the mean over the positions of its group in the same utterance.

    Args:
        x: (batch, text, dim).
        group: (batch, text), numbers from 0 to text - 1; padding has to have its own.

    Returns:
        (batch, text, dim).
    """
    same = (group[:, :, None] == group[:, None, :]).to(x.dtype)
    return torch.matmul(same / same.sum(-1, keepdim=True), x)


class Fusion(nn.Module):
    """`v` and `z` as one sequence for the LM: their sum, a trained weighting of them, or one after the other.

    Source: `fusion.py` of the official TASTE. Its weights sum to one, ours to two: training begins at the plain sum.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        if kind == "weighted_sum":
            self.weights = nn.Parameter(torch.zeros(2))

    def forward(self, text: Tensor, text_length: Tensor, z: Tensor, z_length: Tensor) -> tuple[Tensor, Tensor]:
        """Fuse.

        Args:
            text: (batch, text, dim), `v`.
            text_length: (batch,).
            z: (batch, text, dim); only concatenation takes another length than the text's.
            z_length: (batch,).

        Returns:
            (batch, positions, dim) and how many positions are real, (batch,).
        """
        if self.kind == "sum":
            return text + z, text_length
        if self.kind == "weighted_sum":
            text_weight, z_weight = 2 * self.weights.softmax(0)
            return text_weight * text + z_weight * z, text_length
        parts = zip(unpadded(z, z_length), unpadded(text, text_length), strict=True)
        return padded([torch.cat(part) for part in parts]), z_length + text_length
