"""Utterances as the model takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


@dataclass
class Batch:
    """Utterances padded to the longest one.

    What a system does not read is absent (None, or no layers).
    """

    utts: list[str]
    text_token: Tensor  # (batch, text), int64
    text_length: Tensor  # (batch,)
    unit: Tensor  # (batch, units), int64
    unit_length: Tensor  # (batch,)
    spk_emb: Tensor  # (batch, spk_embed_dim)
    layers: dict[str, Tensor] = field(default_factory=dict)  # each (batch, frames, encoder_dim), as stored
    frames: Tensor | None = None  # (batch,)
    word: Tensor | None = None  # (batch, text), the number of the word that a token belongs to; -1 in padding
    code: Tensor | None = None  # (batch, text, codebooks), TASTE tokens that take the place of the layers
    found: Tensor | None = None  # (batch, text, encoder_dim), what an attention finds in the layers, in their place
    z: Tensor | None = None  # (batch, text, dim), what a system without quantizer says, in place of the layers
    damaged: dict[str, str] = field(default_factory=dict)  # utterances left out of the batch, and why

    def to(self, device: torch.device) -> Batch:
        """The same batch on `device`."""

        def move(value: object) -> object:
            if isinstance(value, Tensor):
                return value.to(device)
            return {name: move(each) for name, each in value.items()} if isinstance(value, dict) else value

        return Batch(**{each.name: move(getattr(self, each.name)) for each in fields(self)})

    def float_layers(self) -> dict[str, Tensor]:
        """The layers in float32."""
        return {name: layer.float() for name, layer in self.layers.items()}


def make_batch(
    rows: Sequence[Mapping[str, Any]], layers: Sequence[str] = (), damaged: Mapping[str, str] | None = None
) -> Batch:
    """Pad utterances to a batch.

    Args:
        rows: of each utterance `utt`, its id, `token` (text,), `unit` (units,) and `spk_emb` (spk_embed_dim,), by the
            name of each of `layers` a (frames, encoder_dim), and where all have them, `word` (text,), `code`
            (text, codebooks), `found` (text, encoder_dim) and `z` (text, dim).
        damaged: utterances that have been left out, and why.
    """

    def pad(name: str, value: float = 0) -> Tensor:
        tensors = [row[name] for row in rows]
        return pad_sequence(tensors, batch_first=True, padding_value=value) if rows else torch.empty(0)

    def pad_if_there(name: str, value: float = 0) -> Tensor | None:
        return pad(name, value) if rows and name in rows[0] else None

    def lengths(name: str) -> Tensor:
        return torch.tensor([len(row[name]) for row in rows])

    return Batch(
        [row["utt"] for row in rows],
        pad("token"), lengths("token"), pad("unit"), lengths("unit"), pad("spk_emb"),
        layers={layer: pad(layer) for layer in layers},
        frames=lengths(layers[0]) if layers else None,
        word=pad_if_there("word", -1),
        code=pad_if_there("code"),
        found=pad_if_there("found"),
        z=pad_if_there("z"),
        damaged=dict(damaged or {}),
    )  # fmt: skip
