"""Aggregators: from frames of speech to one embedding a text token.

An aggregator gets the text states `v`, the text token ids, layers of the speech encoder and the lengths of both, and
returns `z` and its attention. The text asks and the frames answer, so `z` has the text's length.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taste.config import ModelConfig
from taste.model.transformer import length_mask


class Aggregator(nn.Module, ABC):
    """What all aggregators have in common."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.key_layer = config.key_layer
        self.value_layers = config.value_layers

    @abstractmethod
    def forward(
        self, text: Tensor, text_token: Tensor, text_length: Tensor, layers: Mapping[str, Tensor], frames: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Aggregate.

        Args:
            text: (batch, text, dim), `v`.
            text_token: (batch, text), ids; padding may be any.
            text_length: (batch,).
            layers: name -> (batch, time, encoder_dim), those of the speech encoder that the configuration names.
            frames: (batch,), true number of frames.

        Returns:
            `z` (batch, text, aggregator_dim), whose rows of padding are meaningless, and the attention
            (batch, heads, text, time), each row summing to one.
        """

    def length(self, text_length: Tensor, frames: Tensor) -> Tensor:
        """How many embeddings an utterance gets, (batch,): as many as it has text tokens."""
        return text_length

    def narrow(self, text_token: Tensor) -> None:
        """Let only the embeddings of some tokens be trained, where the aggregator has its own."""

    @property
    def finds_the_same(self) -> bool:
        """Whether what it finds in an utterance's layers stays the same in training, and `z` is read from that."""
        return False


class CrossAttention(nn.Module):
    """Multi-head attention of text over frames of speech."""

    def __init__(self, dim: int, heads: int, encoder_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_q = nn.LayerNorm(dim)
        self.linear_q = nn.Linear(dim, dim)
        self.linear_k = nn.Linear(encoder_dim, dim, bias=False)  # it would add the same to all of a row's scores
        self.linear_v = nn.Linear(encoder_dim, dim)
        self.linear_out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, keys: Tensor, values: Sequence[Tensor], mask: Tensor) -> tuple[Tensor, Tensor]:
        """Attend.

        Args:
            x: (batch, text, dim).
            keys: (batch, time, encoder_dim).
            values: of the same shape, as many as the class takes: one.
            mask: (batch, time), true where a frame is real.

        Returns:
            (batch, text, dim) and the attention (batch, heads, text, time).
        """
        query = self.norm_q(x)
        attention = attention_over(keys, self.linear_q(query), self.linear_k.weight, self.heads, mask)
        return self.linear_out(self.read(query, attention, values)), attention

    def read(self, query: Tensor, attention: Tensor, values: Sequence[Tensor]) -> Tensor:
        """What the heads find, side by side: (batch, text, dim)."""
        return read_values(attention, values[0], self.linear_v.weight) + self.linear_v.bias


class MixingCrossAttention(CrossAttention):
    """Cross-attention to several layers, of which each text position takes its own mixture."""

    def __init__(self, dim: int, heads: int, encoder_dim: int, layers: int) -> None:
        super().__init__(dim, heads, encoder_dim)
        self.linear_v = nn.ModuleList(nn.Linear(encoder_dim, dim) for _ in range(layers))
        self.linear_mix = nn.Linear(dim, layers)

    def read(self, query: Tensor, attention: Tensor, values: Sequence[Tensor]) -> Tensor:
        """As `CrossAttention.read`, for as many values as there are layers."""
        weights = self.linear_mix(query).softmax(-1).unbind(-1)
        read = [
            read_values(attention, value, linear.weight) + linear.bias
            for value, linear in zip(values, self.linear_v, strict=True)
        ]
        return sum(weight[..., None] * each for weight, each in zip(weights, read, strict=True))


class AttentionAggregator(Aggregator):
    """`z = Attention(Q = v, K = W h^(L), V = W' h^(l))`: multi-head cross-attention from random weights.

    Of several layers, each asks with what it has found so far added to `v`, and `z` is the sum of what they find. The
    encoder's layers are normalized first, since a block's raw output has a few very large dimensions.

    Source: TASTE (Tseng et al. 2025), section 3.1.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        same = config.dim == config.aggregator_dim
        self.linear_in = nn.Identity() if same else nn.Linear(config.dim, config.aggregator_dim)
        self.layers = nn.ModuleList(self.make_layer(config) for _ in range(config.aggregator_layers))

    def make_layer(self, config: ModelConfig) -> CrossAttention:
        """One layer of cross-attention."""
        return CrossAttention(config.aggregator_dim, config.aggregator_heads, config.encoder_dim)

    def forward(
        self, text: Tensor, text_token: Tensor, text_length: Tensor, layers: Mapping[str, Tensor], frames: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As `Aggregator.forward`; the attention is that of the last layer."""
        of_layer = {name: normalized(layer) for name, layer in layers.items()}
        keys, values = of_layer[self.key_layer], [of_layer[name] for name in self.value_layers]
        mask = length_mask(frames, keys.shape[1])
        query = self.linear_in(text)
        z = torch.zeros_like(query)
        for layer in self.layers:
            found, attention = layer(query + z, keys, values, mask)
            z = z + found
        return z, attention


class LayerMixAggregator(AttentionAggregator):
    """The same, with each text position weighing the values of several encoder layers.

    Source: the multi-layer dynamic attention of TASLA (Hsu et al. 2025, arXiv 2510.14934).
    """

    def make_layer(self, config: ModelConfig) -> CrossAttention:
        """One layer of cross-attention to all value layers."""
        sizes = (config.aggregator_dim, config.aggregator_heads, config.encoder_dim)
        return MixingCrossAttention(*sizes, len(config.value_layers))


class SpeechQueryAggregator(Aggregator):
    """The other way round: the frames ask and the text answers, so `z` has the length of the speech.

    Every `query_stride`-th frame of the deep layer asks. This is what an attention of the usual shape would give if
    its sides were exchanged; it is here to show why they are not.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.stride = config.query_stride
        self.linear_in = nn.Linear(config.encoder_dim, config.aggregator_dim)
        self.attention = CrossAttention(config.aggregator_dim, config.aggregator_heads, config.dim)

    def forward(
        self, text: Tensor, text_token: Tensor, text_length: Tensor, layers: Mapping[str, Tensor], frames: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As `Aggregator.forward`, but `z` is (batch, time / stride, aggregator_dim), and the attention
        (batch, heads, time / stride, text)."""
        query = self.linear_in(normalized(layers[self.key_layer][:, :: self.stride]))
        return self.attention(query, text, [text], length_mask(text_length, text.shape[1]))

    def length(self, text_length: Tensor, frames: Tensor) -> Tensor:
        """As `Aggregator.length`: as many as it has frames that ask."""
        return (frames + self.stride - 1) // self.stride


def normalized(layer: Tensor) -> Tensor:
    """Each frame of mean 0 and variance 1: a block's raw output has a few very large dimensions."""
    return F.layer_norm(layer, layer.shape[-1:])


def attention_over(keys: Tensor, query: Tensor, key_weight: Tensor, heads: int, mask: Tensor) -> Tensor:
    """Softmax of the scaled products of queries and projected keys.

    The projection is applied to the queries instead of the keys, which gives the same products: there are some twenty
    times as many frames as text tokens.

    Args:
        keys: (batch, time, encoder_dim), not projected yet.
        query: (batch, text, dim), projected.
        key_weight: (dim, encoder_dim), of the projection.
        heads: among which dim is divided.
        mask: (batch, time), true where a key may be seen.

    Returns:
        (batch, heads, text, time), float32.
    """
    query = query.unflatten(2, (heads, -1)).transpose(1, 2) * (query.shape[-1] // heads) ** -0.5
    query = head_by_head(query, key_weight.unflatten(0, (heads, -1)))
    scores = torch.matmul(query.flatten(1, 2), keys.to(query.dtype).transpose(1, 2)).unflatten(1, (heads, -1)).float()
    return F.softmax(scores.masked_fill(~mask[:, None, None], -torch.inf), dim=-1)


def read_values(attention: Tensor, values: Tensor, weight: Tensor) -> Tensor:
    """Attended values after a projection without bias, the heads side by side; projected after the attention.

    Args:
        attention: (batch, heads, text, time).
        values: (batch, time, encoder_dim), not projected yet.
        weight: (dim, encoder_dim), of the projection; each head has its share of the rows.

    Returns:
        (batch, text, dim).
    """
    heads = attention.shape[1]
    mean = torch.matmul(attention.to(values.dtype).flatten(1, 2), values).unflatten(1, (heads, -1))
    return head_by_head(mean, weight.unflatten(0, (heads, -1)).transpose(1, 2)).transpose(1, 2).flatten(2)


def head_by_head(x: Tensor, weight: Tensor) -> Tensor:
    """Each head's product with its own weight, of all utterances at once: `matmul` copies the weight for each of them.

    Args:
        x: (batch, heads, text, in).
        weight: (heads, in, out).

    Returns:
        (batch, heads, text, out).
    """
    batch, _, text, _ = x.shape
    return torch.bmm(x.transpose(0, 1).flatten(1, 2), weight).unflatten(1, (batch, text)).transpose(0, 1)
