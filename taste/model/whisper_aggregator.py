"""An aggregator made of Whisper's own decoder, which attends to where a word was said from the first step."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from whisper.model import LayerNorm, ResidualAttentionBlock
from whisper.tokenizer import get_tokenizer

from taste.config import ModelConfig
from taste.errors import RecipeError
from taste.model.aggregator import Aggregator, attention_over, read_values
from taste.model.text_embedding import TextEmbedding
from taste.model.transformer import length_mask

PREFIX = 4  # start of transcript, language, task, no timestamps
CONTEXT = 448  # tokens, prefix included, that Whisper's decoder has positions for
MULTILINGUAL_VOCAB = 51865  # as in whisper.model.Whisper.is_multilingual


class WhisperAggregator(Aggregator):
    """The first blocks of Whisper's decoder, fed the prefix and the text's own token ids; the prefix' states go.

    Keys of its cross-attention come from the deep layer, which it was trained on; values from the shallow one, through
    a projection that begins as the identity, one for each block, in place of Whisper's.

    Source: the official TASTE (mtkresearch/TASTE-SpokenLM, `audio_joint_encoder_segmenter.py`), which uses the two
    blocks of distil-large-v3.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        dim = config.aggregator_dim
        self.token_embedding = TextEmbedding(config.text_token_size, dim)
        self.positional_embedding = nn.Parameter(torch.zeros(CONTEXT, dim))
        self.blocks = nn.ModuleList(
            ResidualAttentionBlock(dim, config.aggregator_heads, cross_attention=True)
            for _ in range(config.aggregator_layers)
        )
        self.ln = LayerNorm(dim)
        self.register_buffer("prefix", torch.zeros(PREFIX, dtype=torch.long))
        for block in self.blocks:
            nn.init.eye_(block.cross_attn.value.weight)
            nn.init.zeros_(block.cross_attn.value.bias)

    def forward(
        self, text: Tensor, text_token: Tensor, text_length: Tensor, layers: Mapping[str, Tensor], frames: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As `Aggregator.forward`; the attention is that of the first block, and `text` is not looked at."""
        keys, values = layers[self.key_layer], layers[self.value_layers[0]]
        real = length_mask(frames, keys.shape[1])
        token = torch.cat((self.prefix.expand(len(text_token), -1), text_token), dim=1)
        x = self.token_embedding(token) + self.positional_embedding[: token.shape[1]]
        causal = torch.full((token.shape[1],) * 2, -torch.inf, device=x.device).triu(1)
        first = None
        for block in self.blocks:
            x = x + block.attn(block.attn_ln(x), mask=causal)[0]
            cross, query = block.cross_attn, block.cross_attn_ln(x)
            attention = attention_over(keys, cross.query(query), cross.key.weight, cross.n_head, real)
            found = read_values(attention, values, cross.value.weight) + cross.value.bias
            x = x + cross.out(found)
            x = x + block.mlp(block.mlp_ln(x))
            first = attention if first is None else first
        return self.ln(x)[:, PREFIX:], first[:, :, PREFIX:]

    def narrow(self, text_token: Tensor) -> None:
        """As `Aggregator.narrow`; the prefix is kept."""
        self.token_embedding.narrow(torch.cat((text_token, self.prefix.cpu())).unique())

    def load_decoder(self, state: Mapping[str, Tensor], name: str) -> None:
        """Take the weights of Whisper's decoder, but for the projections of the values.

        Args:
            state: Whisper's state dict.
            name: of the model, for messages.

        Raises:
            RecipeError: it is no multilingual model, or of other sizes than the configuration.
        """
        decoder = {key.removeprefix("decoder."): value for key, value in state.items() if key.startswith("decoder.")}
        vocab, dim = decoder["token_embedding.weight"].shape
        blocks = 1 + max(int(key.split(".")[1]) for key in decoder if key.startswith("blocks."))
        if vocab < MULTILINGUAL_VOCAB:
            raise RecipeError(
                f"Whisper {name} is English only: its decoder knows other token ids than the recipe's; take the "
                "features of a multilingual model, or another aggregator"
            )
        if dim != self.ln.weight.shape[0] or blocks < len(self.blocks):
            raise RecipeError(
                f"Whisper {name}'s decoder has {blocks} blocks of width {dim}, too few or of another width than the "
                f"configuration's aggregator_layers {len(self.blocks)} and aggregator_dim {self.ln.weight.shape[0]}"
            )
        own = self.state_dict()
        taken = {key: value.float() for key, value in decoder.items() if key in own and "cross_attn.value" not in key}
        embedding = own["token_embedding.weight"].clone()
        embedding[:vocab] = taken["token_embedding.weight"]
        languages = vocab - MULTILINGUAL_VOCAB + 99
        tokenizer = get_tokenizer(True, num_languages=languages, language="en", task="transcribe")
        prefix = torch.tensor(tokenizer.sot_sequence_including_notimestamps)
        self.load_state_dict({**own, **taken, "token_embedding.weight": embedding, "prefix": prefix})
