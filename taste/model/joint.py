"""The joint model: aggregator and language model on `e_joint = v + z`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from taste.config import ModelConfig
from taste.model.batch import Batch
from taste.model.cross_entropy import IGNORE, cross_entropy
from taste.model.decoding import Decoded, Limits, Prompt, decode
from taste.model.lm import CosyVoiceLM
from taste.model.sampling import Sampling
from taste.model.speech import Speech, SpeechSide


@dataclass
class Prediction:
    """What the model says of a batch."""

    logits: Tensor  # (batch, units + 1, speech_token_size + 1)
    target: Tensor  # (batch, units + 1), IGNORE in padding
    speech: Speech | None  # what the speech side said; None without aggregator

    def losses(self) -> Tensor:
        """Cross-entropy of every position in nats, zero in padding: (batch, units + 1), float32."""
        return cross_entropy(self.logits.flatten(0, 1), self.target.flatten()).view_as(self.target)

    def loss(self) -> Tensor:
        """Mean cross-entropy of the units and the ends of speech, upstream's training loss."""
        return self.losses().sum() / self.counted().sum()

    def counted(self) -> Tensor:
        """True at units and ends of speech: (batch, units + 1)."""
        return self.target != IGNORE


class JointModel(nn.Module):
    """CosyVoice's LM on the text states `v`, or on `e_joint`, `v + z`, where the configuration has an aggregator."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.lm = CosyVoiceLM(config)
        self.speech = SpeechSide(config) if config.aggregator != "none" else None

    def forward(self, batch: Batch) -> Prediction:
        """Teacher-forced prediction of a batch's units."""
        states, length, speech = self.text_states(batch)
        logits, target = self.lm(states, length, batch.unit, batch.unit_length, batch.spk_emb)
        return Prediction(logits, target, speech)

    def text_states(self, batch: Batch) -> tuple[Tensor, Tensor, Speech | None]:
        """What the LM reads before the units: `v` or `e_joint` (batch, positions, dim), how many positions are real
        (batch,), and what the speech side says, if there is one."""
        text = self.lm.encode_text(batch.text_token)
        if self.speech is None:
            return text, batch.text_length, None
        speech = self.speech(text, batch)
        return *self.speech.fusion(text, batch.text_length, speech.z, speech.length), speech

    def narrow(self, text_token: Tensor) -> None:
        """Let only the embeddings of some tokens be trained, as `TextEmbedding.narrow`.

        Args:
            text_token: (n,) ids, each once.
        """
        self.lm.text_embedding.narrow(text_token)
        if self.speech is not None:
            self.speech.aggregator.narrow(text_token)

    @torch.no_grad()
    def decode(
        self, batch: Batch, sampling: Sampling, limits: Limits, seed: int, prompt: Prompt | None = None
    ) -> Decoded:
        """Units for a batch's text, speaker and, with an aggregator, speech; its own units are not looked at.

        Arguments and errors as in `taste.model.decoding.decode`.
        """
        states, length, _ = self.text_states(batch)
        return decode(
            self.lm, batch.utts, states, length, batch.spk_emb, sampling, limits, seed, prompt, batch.text_length
        )
