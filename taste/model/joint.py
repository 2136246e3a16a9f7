"""The joint model: aggregator and language model on `e_joint = v + z`."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taste.config import ModelConfig
from taste.model.aggregator import AGGREGATORS
from taste.model.decoding import Decoded, Limits, Prompt, decode
from taste.model.lm import IGNORE, CosyVoiceLM
from taste.model.sampling import Sampling


@dataclass
class Batch:
    """Utterances padded to the longest one.

    `deep` and `shallow` are absent (None) where a system reads no speech.
    """

    utts: list[str]
    text_token: Tensor  # (batch, text), int64
    text_length: Tensor  # (batch,)
    unit: Tensor  # (batch, units), int64
    unit_length: Tensor  # (batch,)
    spk_emb: Tensor  # (batch, spk_embed_dim)
    deep: Tensor | None = None  # (batch, frames, encoder_dim), float16 or float32 as it was stored
    shallow: Tensor | None = None  # the same
    frames: Tensor | None = None  # (batch,)
    damaged: dict[str, str] = field(default_factory=dict)  # utterances left out of the batch, and why

    def to(self, device: torch.device) -> Batch:
        """The same batch on `device`."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return Batch(**{k: v.to(device, non_blocking=True) if isinstance(v, Tensor) else v for k, v in values.items()})


@dataclass
class Prediction:
    """What the model says of a batch."""

    logits: Tensor  # (batch, units + 1, speech_token_size + 1)
    target: Tensor  # (batch, units + 1), IGNORE in padding
    attention: Tensor | None  # (batch, heads, text, frames), None without aggregator

    def losses(self) -> Tensor:
        """Cross-entropy of every position in nats, zero in padding: (batch, units + 1), float32."""
        flat = F.cross_entropy(
            self.logits.float().flatten(0, 1), self.target.flatten(), ignore_index=IGNORE, reduction="none"
        )
        return flat.view_as(self.target)

    def loss(self) -> Tensor:
        """Mean cross-entropy of the units and the ends of speech, upstream's training loss."""
        return self.losses().sum() / self.counted().sum()

    def counted(self) -> Tensor:
        """True at units and ends of speech: (batch, units + 1)."""
        return self.target != IGNORE


class JointModel(nn.Module):
    """CosyVoice's LM on the text states `v`, or on `e_joint = v + z` where the configuration has an aggregator."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.lm = CosyVoiceLM(config)
        self.aggregator = AGGREGATORS[config.aggregator](config) if config.aggregator != "none" else None

    def forward(self, batch: Batch) -> Prediction:
        """Teacher-forced prediction of a batch's units."""
        text, attention = self.text_states(batch)
        logits, target = self.lm(text, batch.text_length, batch.unit, batch.unit_length, batch.spk_emb)
        return Prediction(logits, target, attention)

    def text_states(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """What the LM reads of the text: `v` or `e_joint`, (batch, text, dim); and the attention of `Prediction`."""
        text = self.lm.encode_text(batch.text_token)
        if self.aggregator is None:
            return text, None
        deep, shallow = batch.deep.float(), batch.shallow.float()
        z, attention = self.aggregator(text, batch.text_token, deep, shallow, batch.frames)
        return text + z, attention

    @torch.no_grad()
    def decode(
        self, batch: Batch, sampling: Sampling, limits: Limits, seed: int, prompt: Prompt | None = None
    ) -> Decoded:
        """Units for a batch's text, speaker and, with an aggregator, speech; its own units are not looked at.

        Arguments and errors as in `taste.model.decoding.decode`.
        """
        text, _ = self.text_states(batch)
        return decode(self.lm, batch.utts, text, batch.text_length, batch.spk_emb, sampling, limits, seed, prompt)
