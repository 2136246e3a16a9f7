"""The causal transformer with relative positions that CosyVoice-300M uses for its text encoder and its LM.

Parameter names, and so the layout of modules, are upstream's (`cosyvoice/transformer/` of FunAudioLLM/CosyVoice), which
lets its weights be loaded as they are. With upstream's `static_chunk_size: 1` both encoders see the past only, so only
the causal case is built.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taste.model.dropout import Dropout
from taste.model.relative_attention import relative_attention


def length_mask(lengths: Tensor, size: int) -> Tensor:
    """True where a position is real: (batch,) lengths -> (batch, size)."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]


def distance_encoding(size: int, dim: int, device: torch.device) -> Tensor:
    """Sinusoids of the distances `size - 1, …, 1, 0` between a query and the keys before it: (size, dim), float32.

    Source: Transformer-XL (Dai et al. 2019, appendix B), as ESPnet's `RelPositionalEncoding` orders them.
    """
    distance = torch.arange(size - 1, -1, -1, dtype=torch.float32, device=device)[:, None]
    frequency = torch.exp(torch.arange(0, dim, 2, dtype=torch.float32, device=device) * -(math.log(10000.0) / dim))
    return torch.stack((torch.sin(distance * frequency), torch.cos(distance * frequency)), dim=-1).flatten(1)


class RelPositionAttention(nn.Module):
    """Multi-head self-attention with relative positions (Transformer-XL); upstream's `rel_selfattn`."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (dim // heads) ** -0.5
        self.linear_q = nn.Linear(dim, dim)
        self.linear_k = nn.Linear(dim, dim)
        self.linear_v = nn.Linear(dim, dim)
        self.linear_out = nn.Linear(dim, dim)
        self.linear_pos = nn.Linear(dim, dim, bias=False)
        self.pos_bias_u = nn.Parameter(torch.empty(heads, dim // heads))
        self.pos_bias_v = nn.Parameter(torch.empty(heads, dim // heads))
        nn.init.xavier_uniform_(self.pos_bias_u)
        nn.init.xavier_uniform_(self.pos_bias_v)

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        """Attend from every position to itself and those before it.

        Args:
            x: (batch, time, dim).
            positions: (time, dim), `distance_encoding` of the time.

        Returns:
            (batch, time, dim).
        """
        linears = (self.linear_q, self.linear_k, self.linear_v)
        weight, bias = (torch.cat([getattr(linear, name) for linear in linears]) for name in ("weight", "bias"))
        # each (heads, batch, time, width)
        query, key, value = F.linear(x, weight, bias).unflatten(2, (3, self.heads, -1)).permute(2, 3, 0, 1, 4)
        position = self.linear_pos(positions).unflatten(1, (self.heads, -1)).transpose(0, 1)
        query_u, query_v = (
            query + pos_bias[:, None, None].to(query.dtype) for pos_bias in (self.pos_bias_u, self.pos_bias_v)
        )
        attended = relative_attention(query_u, query_v, key, value, position, self.scale)
        return self.linear_out(attended.permute(1, 2, 0, 3).flatten(2))


class FeedForward(nn.Module):
    """Two linear layers with an activation between them; upstream's `PositionwiseFeedForward`."""

    def __init__(self, dim: int, linear_units: int, dropout: float, activation: nn.Module) -> None:
        super().__init__()
        self.w_1 = nn.Linear(dim, linear_units)
        self.activation = activation
        self.dropout = Dropout(dropout)
        self.w_2 = nn.Linear(linear_units, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, time, dim) -> (batch, time, dim)."""
        hidden = self.w_1(x)
        if isinstance(self.activation, nn.ReLU):
            return self.w_2(self.dropout.after_relu(hidden))
        return self.w_2(self.dropout(self.activation(hidden)))


class EncoderLayer(nn.Module):
    """One block, normalized before each part.

    `norm_names` are those of the norms before attention and feed-forward: upstream calls them `norm_mha`, `norm_ff` in
    its conformer and `norm1`, `norm2` in its transformer, which without convolution and macaron are the same block.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        linear_units: int,
        dropout: float,
        activation: nn.Module,
        norm_names: tuple[str, str],
    ) -> None:
        super().__init__()
        self.self_attn = RelPositionAttention(dim, heads)
        self.feed_forward = FeedForward(dim, linear_units, dropout, activation)
        self.norm_names = norm_names
        for name in norm_names:
            self.add_module(name, nn.LayerNorm(dim, eps=1e-12))
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        """Shapes as in `RelPositionAttention.forward`."""
        norm_attention, norm_feed_forward = (getattr(self, name) for name in self.norm_names)
        x = x + self.dropout(self.self_attn(norm_attention(x), positions))
        return x + self.dropout(self.feed_forward(norm_feed_forward(x)))


class InputLayer(nn.Module):
    """Linear layer, norm, dropout, and for the LM a ReLU; then the scaling that goes with relative positions.

    Upstream's `LinearNoSubsampling` (text encoder) and `LegacyLinearNoSubsampling` (LM).

    Training from random weights begins with a norm whose gain undoes the scaling. With upstream's gain of one the input
    is `sqrt(dim)` times as large as what the blocks add to it, and they learn slowly to count.
    """

    def __init__(self, input_size: int, dim: int, dropout: float, relu: bool) -> None:
        super().__init__()
        layers = [nn.Linear(input_size, dim), nn.LayerNorm(dim, eps=1e-5), Dropout(dropout)]
        self.out = nn.Sequential(*layers, *([nn.ReLU()] if relu else []))
        self.dim = dim
        self.scale = math.sqrt(dim)
        nn.init.constant_(self.out[1].weight, 1 / self.scale)
        self.positional_dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, time, input_size) -> (batch, time, dim)."""
        return self.positional_dropout(self.out(x) * self.scale)

    def positions(self, size: int, device: torch.device) -> Tensor:
        """`distance_encoding` of that many positions: (size, dim)."""
        return self.positional_dropout(distance_encoding(size, self.dim, device))


class CausalEncoder(nn.Module):
    """A stack of blocks in which each position sees itself and the past.

    Args:
        kind: `conformer` for upstream's text encoder, `transformer` for its LM: they differ in the activation, in the
            ReLU after the input layer, and in the names of the norms.
    """

    def __init__(
        self, kind: str, input_size: int, dim: int, heads: int, linear_units: int, blocks: int, dropout: float
    ) -> None:
        super().__init__()
        is_conformer = kind == "conformer"
        self.embed = InputLayer(input_size, dim, dropout, relu=not is_conformer)
        activation = nn.SiLU() if is_conformer else nn.ReLU()
        norm_names = ("norm_mha", "norm_ff") if is_conformer else ("norm1", "norm2")
        self.encoders = nn.ModuleList(
            EncoderLayer(dim, heads, linear_units, dropout, activation, norm_names) for _ in range(blocks)
        )
        self.after_norm = nn.LayerNorm(dim, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        """Encode sequences that are padded at their end.

        Padding needs no mask of its own: it lies after every real position, where the causal mask hides it.

        Args:
            x: (batch, time, input_size).

        Returns:
            (batch, time, dim); rows of padding are meaningless.
        """
        time = x.shape[1]
        x = self.embed(x)
        positions = self.embed.positions(time, x.device)
        for layer in self.encoders:
            x = layer(x, positions)
        return self.after_norm(x)
