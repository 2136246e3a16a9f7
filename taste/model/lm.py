"""CosyVoice-300M's language model: text and speaker in, S3 units out.

Upstream: `cosyvoice/llm/llm.py` (`TransformerLM`) of FunAudioLLM/CosyVoice. Modules bear its names.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taste.config import ModelConfig
from taste.model.cross_entropy import IGNORE
from taste.model.sequences import padded, unpadded
from taste.model.text_embedding import TextEmbedding
from taste.model.transformer import CausalEncoder, length_mask

SOS, TASK = 0, 1  # rows of `llm_embedding`


class CosyVoiceLM(nn.Module):
    """Decoder LM over `[sos, speaker, text…, task, unit…]` that predicts the units and, after the last, end of speech.

    The end of speech is unit number `speech_token_size`.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.dim
        self.speech_token_size = config.speech_token_size
        self.unit_dropout = config.unit_dropout
        sizes = {"dim": dim, "heads": config.attention_heads, "linear_units": config.linear_units}
        self.text_embedding = TextEmbedding(config.text_token_size, config.text_encoder_input_size)
        self.text_encoder = CausalEncoder(
            "conformer",
            config.text_encoder_input_size,
            blocks=config.text_encoder_blocks,
            dropout=config.dropout,
            **sizes,
        )
        self.text_encoder_affine_layer = nn.Linear(dim, dim)
        self.llm_embedding = nn.Embedding(2, dim)
        self.llm = CausalEncoder("transformer", dim, blocks=config.llm_blocks, dropout=config.dropout, **sizes)
        self.llm_decoder = nn.Linear(dim, config.speech_token_size + 1)
        self.speech_embedding = nn.Embedding(config.speech_token_size, dim)
        self.spk_embed_affine_layer = nn.Linear(config.spk_embed_dim, dim)

    def encode_text(self, text_token: Tensor) -> Tensor:
        """Text ids (batch, text) -> `v` (batch, text, dim), the text encoder's output after its affine layer."""
        return self.text_encoder_affine_layer(self.text_encoder(self.text_embedding(text_token)))

    def forward(
        self, text: Tensor, text_length: Tensor, unit: Tensor, unit_length: Tensor, spk_emb: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Predict every unit from the true ones before it.

        Args:
            text: (batch, text, dim): `v`, or `e_joint`.
            text_length: (batch,).
            unit: (batch, units), ids; padding may be any valid id.
            unit_length: (batch,).
            spk_emb: (batch, spk_embed_dim); its length is normalized here, as upstream does.

        Returns:
            Logits (batch, units + 1, speech_token_size + 1), row t predicting unit t, row `unit_length` the end of
            speech; and the targets (batch, units + 1), `IGNORE` in padding.
        """
        sequences = self.sequences(text, text_length, unit, unit_length, spk_emb)
        hidden = self.llm(padded(sequences))
        # Units begin to be predicted at the task embedding, which stands after sos, speaker and text.
        steps = torch.arange(unit.shape[1] + 1, device=unit.device)
        rows = (text_length[:, None] + 2 + steps).clamp(max=hidden.shape[1] - 1)
        hidden = hidden.gather(1, rows[..., None].expand(-1, -1, hidden.shape[2]))
        return self.llm_decoder(hidden), self.targets(unit, unit_length)

    def sequences(
        self, text: Tensor, text_length: Tensor, unit: Tensor, unit_length: Tensor, spk_emb: Tensor
    ) -> list[Tensor]:
        """The LM's input for each utterance, `[sos, speaker, text…, task, unit…]`: (text + units + 3, dim) each.

        In training some units are hidden where the configuration says so, and are to be foreseen all the same: what
        hides between them has to be found in the text. Source: word dropout (Bowman et al. 2016, arXiv 1511.06349).

        Arguments as in `forward`.
        """
        spk = self.spk_embed_affine_layer(F.normalize(spk_emb, dim=1))
        sos, task = self.llm_embedding.weight[SOS][None], self.llm_embedding.weight[TASK][None]
        embedded = self.speech_embedding(unit)
        if self.training and self.unit_dropout:
            embedded = embedded * (torch.rand(unit.shape, device=unit.device) >= self.unit_dropout)[..., None]
        parts = zip(spk.split(1), unpadded(text, text_length), unpadded(embedded, unit_length), strict=True)
        return [torch.cat((sos, voice, states, task, units)) for voice, states, units in parts]

    def targets(self, unit: Tensor, unit_length: Tensor) -> Tensor:
        """Units followed by the end of speech, `IGNORE` after it: (batch, units) -> (batch, units + 1)."""
        target = F.pad(unit, (0, 1)).masked_fill(~length_mask(unit_length, unit.shape[1] + 1), IGNORE)
        return target.scatter(1, unit_length[:, None], self.speech_token_size)
