"""Causal attention with relative positions, in pieces that fit a processor's cache.

Softmax of many scores is not kept for the backward pass but computed again from queries and keys, as FlashAttention
does (Dao et al. 2022, arXiv 2205.14135), so memory grows with the length of the sequence instead of its square. Keys
that lie after a whole block of queries are left out.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

BLOCK = 256  # queries
PIECE = 2**20  # scores that are worked on at once on a CPU
KEPT = 20 * PIECE  # scores, of all pairs of positions, up to which their softmax is kept


def relative_attention(
    query_u: Tensor, query_v: Tensor, key: Tensor, value: Tensor, position: Tensor, scale: float
) -> Tensor:
    """Attend from every position to itself and those before it, with Transformer-XL's scores.

    The score of a query and a key is `scale * (query_u @ key + query_v @ position of their distance)`.

    Args:
        query_u, query_v: (heads, batch, time, width), the queries plus the two biases.
        key, value: (heads, batch, time, width).
        position: (heads, time, width), the projected encodings of the distances `time - 1, …, 0`.
        scale: of the scores.

    Returns:
        (heads, batch, time, width).

    Source: Dai et al. 2019 (arXiv 1901.02860), appendix B.
    """
    return _RelativeAttention.apply(query_u, query_v, key, value, position, scale)


class _RelativeAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        *tensors, scale = inputs
        tensors = [tensor.contiguous() for tensor in tensors]
        query_u, query_v, key, value, position = tensors
        attended = torch.empty_like(value)
        keeps = value[..., 0].numel() * value.shape[2] <= KEPT
        kept = []
        with torch.autocast(value.device.type, enabled=False):
            for heads, first, last in _pieces(value):
                weights = _weights(query_u[heads], query_v[heads], key[heads], position[heads], scale, first, last)
                found = torch.bmm(weights, value[heads, :, :last].flatten(0, 1))
                attended[heads, :, first:last] = found.unflatten(0, (-1, value.shape[1]))
                if keeps:
                    kept.append(weights)
        ctx.save_for_backward(*tensors, attended, *kept)
        ctx.scale = scale
        return attended

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query_u, query_v, key, value, position, attended, *kept = ctx.saved_tensors
        gradient = gradient.contiguous()
        to_query_u, to_query_v = torch.empty_like(query_u), torch.empty_like(query_v)
        to_key, to_value, to_position = (torch.zeros_like(tensor) for tensor in (key, value, position))
        for piece, (heads, first, last) in enumerate(_pieces(value)):
            size = (value[heads].shape[0], value.shape[1])
            # (heads * batch, queries or keys, width) of this piece
            rows_u, incoming, found = (x[heads, :, first:last].flatten(0, 1) for x in (query_u, gradient, attended))
            keys, values = (x[heads, :, :last].flatten(0, 1) for x in (key, value))
            if kept:
                weights = kept[piece]
            else:
                weights = _weights(query_u[heads], query_v[heads], key[heads], position[heads], ctx.scale, first, last)
            to_value[heads, :, :last] += torch.bmm(weights.transpose(1, 2), incoming).unflatten(0, size)
            # what softmax passes on: weights * (gradient of the weights - the row's mean of it by these weights)
            inner = (incoming * found).sum(-1, keepdim=True)
            to_scores = torch.baddbmm(inner, incoming, values.transpose(1, 2), beta=-1).mul_(weights)
            to_query_u[heads, :, first:last] = torch.bmm(to_scores, keys).unflatten(0, size)
            to_key[heads, :, :last] += torch.bmm(to_scores.transpose(1, 2), rows_u).unflatten(0, size)
            # (heads, batch * queries, …), as all utterances share the positions
            to_distances = _by_distance(to_scores).view(size[0], -1, last)
            rows_v = query_v[heads, :, first:last].flatten(1, 2)
            to_query_v[heads, :, first:last] = torch.bmm(to_distances, position[heads, -last:]).view_as(
                to_query_v[heads, :, first:last]
            )
            to_position[heads, -last:] += torch.bmm(to_distances.transpose(1, 2), rows_v)
        for tensor in (to_query_u, to_query_v, to_key, to_position):
            tensor.mul_(ctx.scale)
        return to_query_u, to_query_v, to_key, to_value, to_position, None


def _pieces(value: Tensor) -> list[tuple[slice, int, int]]:
    """Slices of heads, and the first query and the end of blocks of queries; keys are needed up to that end."""
    heads, batch, time, _ = value.shape
    pieces = []
    for first in range(0, time, BLOCK):
        last = min(first + BLOCK, time)
        together = heads
        if value.device.type == "cpu":
            together = min(heads, max(1, PIECE // (batch * (last - first) * last)))
        pieces += [(slice(head, head + together), first, last) for head in range(0, heads, together)]
    return pieces


def _weights(
    query_u: Tensor, query_v: Tensor, key: Tensor, position: Tensor, scale: float, first: int, last: int
) -> Tensor:
    """Softmax of a block's scores: (heads * batch, last - first, last)."""
    count = last - first
    by_distance = torch.bmm(query_v[:, :, first:last].flatten(1, 2), position[:, -last:].transpose(1, 2))
    # The row of a query begins further right the earlier it stands; so read, columns are keys instead of distances.
    # Where a key lies after the query this reads what belongs to the next row, and the mask hides it.
    bias = by_distance.as_strided(
        (by_distance.shape[0] * key.shape[1], count, last), (count * last, last - 1, 1), count - 1
    )
    scores = torch.baddbmm(
        bias, query_u[:, :, first:last].flatten(0, 1), key[:, :, :last].flatten(0, 1).transpose(1, 2),
        beta=scale, alpha=scale,
    )  # fmt: skip
    scores[..., first:] += scores.new_full((count, count), -torch.inf).triu(1)
    return torch.softmax(scores, dim=-1)


def _by_distance(by_key: Tensor) -> Tensor:
    """The reverse of what `_weights` does to its bias: (n, queries, keys), zero where a key lies after the query."""
    n, count, last = by_key.shape
    by_distance = by_key.new_empty(n, count * last)
    by_distance[:, : count - 1] = 0
    by_distance[:, count - 1 : -1] = by_key[..., :-1].flatten(1)
    by_distance[:, -1] = by_key[:, -1, -1]
    return by_distance
