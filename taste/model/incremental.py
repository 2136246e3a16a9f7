"""The causal transformer a position at a time: weights laid out once, keys and values kept.

`taste.model.transformer` holds the same computation for whole sequences.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taste.fixed_linear import FixedLinear
from taste.model.transformer import CausalEncoder, EncoderLayer


def shift_distances(scores: Tensor) -> Tensor:
    """Turn scores by distance into scores by key, without copying them row by row.

    Args:
        scores: (batch, heads, queries, keys); column c holds the score of distance `keys - 1 - c`.

    Returns:
        (batch, heads, queries, keys); column j holds the score of the distance from the query to key j, the last query
        standing on the last key. Entries of keys after the query are meaningless; a causal mask hides them.
    """
    batch, heads, queries, keys = scores.shape
    return F.pad(scores, (1, 0)).view(batch, heads, keys + 1, queries)[:, :, 1:].reshape(batch, heads, queries, keys)


class IncrementalLayer:
    """An `EncoderLayer` in evaluation mode with the keys and values of the positions that it has read."""

    def __init__(self, layer: EncoderLayer, positions: Tensor, batch: int, dtype: torch.dtype) -> None:
        """Prepare the layer.

        Args:
            layer: its weights are copied where they are brought into another form.
            positions: (size, dim), `distance_encoding` of the most positions that there will be.
            batch: how many sequences.
            dtype: of the linear layers.
        """
        attention, feed_forward = layer.self_attn, layer.feed_forward
        self.norm_attention, self.norm_feed_forward = (getattr(layer, name) for name in layer.norm_names)
        self.heads = attention.heads
        # One product for all three, with the scale of the scores in the query's.
        linears = (attention.linear_q, attention.linear_k, attention.linear_v)
        scales = (attention.scale, 1, 1)
        weight = torch.cat([linear.weight * scale for linear, scale in zip(linears, scales, strict=True)])
        bias = torch.cat([linear.bias * scale for linear, scale in zip(linears, scales, strict=True)])
        self.linear_qkv = FixedLinear(weight, bias, dtype)
        self.bias_u = attention.pos_bias_u[:, None] * attention.scale  # (heads, 1, width)
        self.bias_v = attention.pos_bias_v[:, None] * attention.scale
        self.linear_out = FixedLinear.of(attention.linear_out, dtype)
        self.w_1 = FixedLinear.of(feed_forward.w_1, dtype)
        self.activation = feed_forward.activation
        self.w_2 = FixedLinear.of(feed_forward.w_2, dtype)
        # (heads, width, size), of the distances size - 1, …, 1, 0
        position = attention.linear_pos(positions).view(len(positions), self.heads, -1)
        self.position = position.permute(1, 2, 0).contiguous()
        _, width, size = self.position.shape
        self.key = self.position.new_empty(batch, self.heads, size, width)
        self.value = torch.empty_like(self.key)
        self.length = 0  # how many positions of the cache are filled

    def extend(self, x: Tensor, hidden: Tensor | None) -> Tensor:
        """Go on from the positions read so far; arguments as in `IncrementalEncoder.extend`, x (batch, time, dim)."""
        x = x + self.linear_out(self._attend(self.norm_attention(x), hidden))
        return x + self.w_2(self.activation(self.w_1(self.norm_feed_forward(x))))

    def _attend(self, x: Tensor, hidden: Tensor | None) -> Tensor:
        batch, time, _ = x.shape
        start, self.length = self.length, self.length + time
        query, key, value = self.linear_qkv(x).view(batch, time, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        self.key[:, :, start : self.length] = key
        self.value[:, :, start : self.length] = value
        # Utterances stand where matmul expects rows: beside queries, it would copy the positions for each utterance.
        query_v = (query + self.bias_v).transpose(0, 2)
        by_distance = torch.matmul(query_v, self.position[..., -self.length :]).transpose(0, 2)
        if time > 1:
            by_distance = shift_distances(by_distance)
        # The keys stand first: with one query the product is twice as fast as the reverse.
        by_key = torch.matmul(self.key[:, :, : self.length], (query + self.bias_u).transpose(-2, -1)).transpose(-2, -1)
        scores = by_key + by_distance
        if hidden is not None:
            scores.masked_fill_(hidden, -torch.inf)
        return torch.matmul(torch.softmax(scores, -1), self.value[:, :, : self.length]).transpose(1, 2).flatten(2)

    def keep(self, rows: Tensor) -> None:
        """Forget all sequences but those that are true in `rows` (batch,)."""
        for name in ("key", "value"):
            tensor = getattr(self, name)
            kept = tensor[rows, :, : self.length]
            tensor[: len(kept), :, : self.length] = kept
            setattr(self, name, tensor[: len(kept)])


class IncrementalEncoder:
    """A `CausalEncoder` in evaluation mode that reads some positions at a time; upstream's `forward_chunk`."""

    def __init__(self, encoder: CausalEncoder, batch: int, size: int, dtype: torch.dtype) -> None:
        """Prepare `encoder` for `batch` sequences of at most `size` positions, its linear layers in `dtype`."""
        input_linear, *others = encoder.embed.out
        self.input_linear = FixedLinear.of(input_linear, dtype)
        self.input_layers = nn.Sequential(*others)
        self.input_scale = encoder.embed.scale
        self.after_norm = encoder.after_norm
        positions = encoder.embed.positions(size, encoder.after_norm.weight.device)
        self.layers = [IncrementalLayer(layer, positions, batch, dtype) for layer in encoder.encoders]

    def extend(self, x: Tensor, hidden: Tensor | None) -> Tensor:
        """Encode the positions that follow those read so far.

        Args:
            x: (batch, time, input_size).
            hidden: (batch, 1, time, read + time), true where a position must not see another; None where it sees all.

        Returns:
            (batch, time, dim).
        """
        x = self.input_layers(self.input_linear(x).float()) * self.input_scale
        for layer in self.layers:
            x = layer.extend(x, hidden)
        return self.after_norm(x)

    @property
    def length(self) -> int:
        """How many positions have been read."""
        return self.layers[0].length

    def keep(self, rows: Tensor) -> None:
        """Forget all sequences but those that are true in `rows` (batch,)."""
        for layer in self.layers:
            layer.keep(rows)
