"""Utterances as the model takes them."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import torch
from torch import Tensor


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
    damaged: dict[str, str] = field(default_factory=dict)  # utterances left out of the batch, and why

    def to(self, device: torch.device) -> Batch:
        """The same batch on `device`."""

        def move(value: object) -> object:
            if isinstance(value, Tensor):
                return value.to(device, non_blocking=True)
            return {name: move(each) for name, each in value.items()} if isinstance(value, dict) else value

        return Batch(**{each.name: move(getattr(self, each.name)) for each in fields(self)})
