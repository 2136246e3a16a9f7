"""Aggregators: from frames of speech to one embedding a text token.

An aggregator gets the text states `v`, the text token ids, the two layers of the speech encoder and their lengths, and
returns `z` of the text's length and its attention over the frames.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taste.config import ModelConfig
from taste.model.transformer import length_mask


class AttentionAggregator(nn.Module):
    """`z = Attention(Q = v, K = W h^(L), V = W' h^(l))`: one multi-head cross-attention from random weights.

    The encoder's layers are normalized first, since a block's raw output has a few very large dimensions. The output
    projection starts at zero, so that training begins at exactly the text-only model that it is started from.

    Source: TASTE (Tseng et al. 2025), section 3.1.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.dim
        self.heads = config.aggregator_heads
        self.norm_q = nn.LayerNorm(dim)
        self.norm_k = nn.LayerNorm(config.encoder_dim)
        self.norm_v = nn.LayerNorm(config.encoder_dim)
        self.linear_q = nn.Linear(dim, dim)
        self.linear_k = nn.Linear(config.encoder_dim, dim)
        self.linear_v = nn.Linear(config.encoder_dim, dim)
        self.linear_out = nn.Linear(dim, dim)
        nn.init.zeros_(self.linear_out.weight)
        nn.init.zeros_(self.linear_out.bias)

    def forward(
        self, text: Tensor, text_token: Tensor, deep: Tensor, shallow: Tensor, frames: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Aggregate.

        Args:
            text: (batch, text, dim), `v`.
            text_token: (batch, text), ids; this aggregator does not need them, those built on Whisper's decoder do.
            deep: (batch, time, encoder_dim), keys.
            shallow: (batch, time, encoder_dim), values.
            frames: (batch,), true number of frames.

        Returns:
            `z` (batch, text, dim) and the attention (batch, heads, text, time), each row summing to one.
        """
        query = self._split(self.linear_q(self.norm_q(text)))
        key = self._split(self.linear_k(self.norm_k(deep)))
        value = self._split(self.linear_v(self.norm_v(shallow)))
        mask = length_mask(frames, deep.shape[1])[:, None, None]
        scores = torch.matmul(query, key.transpose(-2, -1)).float() * query.shape[-1] ** -0.5
        attention = F.softmax(scores.masked_fill(~mask, -torch.inf), dim=-1)
        attended = torch.matmul(attention.to(value.dtype), value)
        return self.linear_out(attended.transpose(1, 2).flatten(2)), attention

    def _split(self, x: Tensor) -> Tensor:
        """(batch, length, dim) -> (batch, heads, length, dim / heads)."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


AGGREGATORS = {"attention": AttentionAggregator}
