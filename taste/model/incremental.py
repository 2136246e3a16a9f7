"""The causal transformer a position at a time: weights laid out once, keys and values kept.

`taste.model.transformer` holds the same computation for whole sequences.
"""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True)
class Columns:
    """The columns of the cache that some positions are written to and look at.

    Attributes:
        new: where the positions are written.
        distance: the columns of `IncrementalLayer.position` for those looked at, as the last position sees them.
        end: how many columns are looked at, from the first.
        hidden: (batch, 1, time, end), true where a position must not see a column; None where it sees all.
    """

    new: slice | Tensor
    distance: slice | Tensor
    end: int
    hidden: Tensor | None


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

    def extend(self, x: Tensor, columns: Columns) -> Tensor:
        """Go on from the positions read so far: (batch, time, dim) -> (batch, time, dim)."""
        x = x + self.linear_out(self._attend(self.norm_attention(x), columns))
        return x + self.w_2(self.activation(self.w_1(self.norm_feed_forward(x))))

    def _attend(self, x: Tensor, columns: Columns) -> Tensor:
        batch, time, _ = x.shape
        query, key, value = self.linear_qkv(x).view(batch, time, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        self.key[:, :, columns.new] = key.to(self.key.dtype)
        self.value[:, :, columns.new] = value.to(self.value.dtype)
        # Utterances stand where matmul expects rows: beside queries, it would copy the positions for each utterance.
        query_v = (query + self.bias_v).transpose(0, 2)
        by_distance = torch.matmul(query_v, self.position[..., columns.distance]).transpose(0, 2)
        if time > 1:
            by_distance = shift_distances(by_distance)
        keys, values = (tensor[:, :, : columns.end] for tensor in (self.key, self.value))
        # The keys stand first: with one query the product is twice as fast as the reverse.
        by_key = torch.matmul(keys, (query + self.bias_u).transpose(-2, -1)).transpose(-2, -1)
        scores = by_key + by_distance
        if columns.hidden is not None:
            scores.masked_fill_(columns.hidden, -torch.inf)
        return torch.matmul(torch.softmax(scores, -1), values).transpose(1, 2).flatten(2)

    def keep(self, rows: Tensor, length: int) -> None:
        """Forget all sequences but those that are true in `rows` (batch,), of which `length` columns are needed."""
        for name in ("key", "value"):
            tensor = getattr(self, name)
            kept = tensor[rows, :, :length]
            tensor[: len(kept), :, :length] = kept
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
        self.size = size
        self.length = 0  # how many columns of the cache are filled or reserved

    def extend(self, x: Tensor, hidden: Tensor | None) -> Tensor:
        """Encode the positions that follow those read so far.

        Args:
            x: (batch, time, input_size).
            hidden: (batch, 1, time, read + time), true where a position must not see another; None where it sees all.

        Returns:
            (batch, time, dim).
        """
        start, self.length = self.length, self.length + x.shape[1]
        return self._through(x, Columns(slice(start, self.length), slice(-self.length, None), self.length, hidden))

    def reserve(self, columns: int) -> None:
        """Count columns as filled that `extend_reserved` is going to fill."""
        start, self.length = self.length, self.length + columns
        for layer in self.layers:
            layer.value[:, :, start : self.length] = 0  # hidden, and weighted by 0, it has to be finite

    def extend_reserved(self, x: Tensor, column: Tensor, hidden: Tensor) -> Tensor:
        """Encode one position, which is written to one of the columns that have been reserved.

        From one such position to the next nothing changes but what is in tensors.

        Args:
            x: (batch, 1, input_size).
            column: (1,), the first column that is not filled; those after it are hidden.
            hidden: (batch, 1, 1, length), true where a column belongs to no position.

        Returns:
            (batch, 1, dim).
        """
        columns = torch.arange(self.length, device=x.device)
        distance = (columns - column + self.size - 1).clamp(max=self.size - 1)
        return self._through(x, Columns(column, distance, self.length, hidden | (columns > column)))

    def _through(self, x: Tensor, columns: Columns) -> Tensor:
        x = self.input_layers(self.input_linear(x).float()) * self.input_scale
        for layer in self.layers:
            x = layer.extend(x, columns)
        return self.after_norm(x)

    def keep(self, rows: Tensor) -> None:
        """Forget all sequences but those that are true in `rows` (batch,)."""
        for layer in self.layers:
            layer.keep(rows, self.length)
