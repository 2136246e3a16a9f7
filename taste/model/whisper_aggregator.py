"""Aggregators made of Whisper's own decoder, which looks at where a word is said from the first step."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from whisper.model import LayerNorm, ResidualAttentionBlock
from whisper.tokenizer import get_tokenizer

from taste.config import WHISPER_TEXT, ModelConfig
from taste.errors import RecipeError
from taste.model.aggregator import Aggregator, attention_over, normalized, read_values
from taste.model.batch import Batch
from taste.model.text_embedding import TextEmbedding
from taste.model.transformer import length_mask
from taste.whisper.weights import MULTILINGUAL_VOCAB

logger = logging.getLogger(__name__)
PREFIX = 4  # start of transcript, language, task, no timestamps
CONTEXT = WHISPER_TEXT + PREFIX  # tokens that Whisper's decoder has positions for


class WhisperDecoder(Aggregator):
    """The first blocks of Whisper's decoder, fed the prefix and the text's own token ids.

    Keys of its cross-attention come from the deep layer, which it was trained on.
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
        self.register_buffer("prefix", torch.zeros(PREFIX, dtype=torch.long))

    def embed(self, text_token: Tensor) -> tuple[Tensor, Tensor]:
        """What the first block gets, (batch, prefix + text, dim), and the causal mask."""
        token = torch.cat((self.prefix.expand(len(text_token), -1), text_token), dim=1)
        mask = torch.full((token.shape[1],) * 2, -torch.inf, device=token.device).triu(1)
        return self.token_embedding(token) + self.positional_embedding[: token.shape[1]], mask

    def look(
        self, block: ResidualAttentionBlock, x: Tensor, causal: Tensor, keys: Tensor, frames: Tensor
    ) -> tuple[Tensor, Tensor]:
        """A block up to its cross-attention: the states before it, and the attention (batch, heads, text, time)."""
        x = x + block.attn(block.attn_ln(x), mask=causal)[0]
        cross, real = block.cross_attn, length_mask(frames, keys.shape[1])
        query = cross.query(block.cross_attn_ln(x))
        return x, attention_over(keys, query, cross.key.weight, cross.n_head, real)

    def go_on(self, block: ResidualAttentionBlock, x: Tensor, found: Tensor) -> Tensor:
        """The rest of a block, after what its cross-attention has found."""
        x = x + block.cross_attn.out(found)
        return x + block.mlp(block.mlp_ln(x))

    def narrow(self, text_token: Tensor) -> None:
        """As `Aggregator.narrow`; the prefix is kept."""
        self.token_embedding.narrow(torch.cat((text_token, self.prefix.cpu())).unique())

    def load_decoder(self, state: Mapping[str, Tensor], name: str) -> None:
        """Take the weights of Whisper's decoder.

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
        own_dim = self.positional_embedding.shape[1]
        if dim != own_dim or blocks < len(self.blocks):
            raise RecipeError(
                f"Whisper {name}'s decoder has {blocks} blocks of width {dim}, too few or of another width than the "
                f"configuration's aggregator_layers {len(self.blocks)} and aggregator_dim {own_dim}"
            )
        own = self.state_dict()
        taken = {key: value.float() for key, value in decoder.items() if key in own}
        embedding = own["token_embedding.weight"].clone()
        embedding[:vocab] = taken["token_embedding.weight"]
        languages = vocab - MULTILINGUAL_VOCAB + 99
        tokenizer = get_tokenizer(True, num_languages=languages, language="en", task="transcribe")
        prefix = torch.tensor(tokenizer.sot_sequence_including_notimestamps)
        self.load_state_dict({**own, **taken, "token_embedding.weight": embedding, "prefix": prefix})


class WhisperAggregator(WhisperDecoder):
    """`z` is the decoder's output; the states of the prefix go.

    Values come from the shallow layer, normalized, through a projection that begins as the identity, one for each
    block, in place of Whisper's.

    Source: the official TASTE (mtkresearch/TASTE-SpokenLM, `audio_joint_encoder_segmenter.py`), which uses the two
    blocks of distil-large-v3.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.ln = LayerNorm(config.aggregator_dim)
        self.read = nn.ModuleList(identity(config.aggregator_dim) for _ in self.blocks)
        for block in self.blocks:
            del block.cross_attn.value

    def forward(
        self, text: Tensor, text_token: Tensor, text_length: Tensor, layers: Mapping[str, Tensor], frames: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As `Aggregator.forward`; the attention is that of all blocks' heads, and `text` is not looked at."""
        keys, values = layers[self.key_layer], normalized(layers[self.value_layers[0]])
        x, causal = self.embed(text_token)
        attentions = []
        for block, read in zip(self.blocks, self.read, strict=True):
            x, attention = self.look(block, x, causal, keys, frames)
            x = self.go_on(block, x, read_values(attention, values, read.weight))
            attentions.append(attention)
        return self.ln(x)[:, PREFIX:], torch.cat(attentions, dim=1)[:, :, PREFIX:]


class WhisperAttentionAggregator(WhisperDecoder):
    """The decoder runs as Whisper trained it, and one head of its last block here reads the shallow layer.

    `z` is the mean of the shallow frames, normalized, that the head looks at, through a projection that begins as the
    identity. So the attention stays where Whisper has learned to look, and `z` holds nothing that the text alone tells.
    Which head it is, `choose_head` finds out.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.read = identity(config.aggregator_dim)
        self.register_buffer("head", torch.tensor(0))
        last = self.blocks[-1]
        del last.cross_attn.value, last.cross_attn.out, last.mlp, last.mlp_ln

    def forward(
        self, text: Tensor, text_token: Tensor, text_length: Tensor, layers: Mapping[str, Tensor], frames: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As `Aggregator.forward`; the attention is that of the one head, and `text` is not looked at."""
        found, attention = self.find(text_token, layers, frames)
        return self.read(found), attention

    def find(self, text_token: Tensor, layers: Mapping[str, Tensor], frames: Tensor) -> tuple[Tensor, Tensor]:
        """The mean of the frames that the head looks at, (batch, text, encoder_dim), and its attention."""
        attention = self.attention(text_token, layers[self.key_layer], frames)[:, self.head]
        return torch.matmul(attention, normalized(layers[self.value_layers[0]])), attention[:, None]

    @property
    def finds_the_same(self) -> bool:
        """As `Aggregator.finds_the_same`: where nothing trains but the layer that reads."""
        return not any(each.requires_grad for name, each in self.named_parameters() if not name.startswith("read."))

    def attention(self, text_token: Tensor, keys: Tensor, frames: Tensor) -> Tensor:
        """The attention of all heads of the last block: (batch, heads, text, time)."""
        x, causal = self.embed(text_token)
        for block in self.blocks:
            x, attention = self.look(block, x, causal, keys, frames)
            if block is not self.blocks[-1]:
                value = block.cross_attn.value
                x = self.go_on(block, x, read_values(attention, keys, value.weight) + value.bias)
        return attention[:, :, PREFIX:]

    @torch.no_grad()
    def choose_head(self, batches: Iterable[Batch]) -> None:
        """Take the head that goes through the speech most steadily as the text goes on.

        It is the one whose mean time of attention is most correlated with the number of the token, on average over the
        utterances of `batches`.
        """
        scores = []
        for batch in batches:
            keys = batch.layers[self.key_layer].float()
            attention = self.attention(batch.text_token, keys, batch.frames)
            time = (attention * torch.arange(attention.shape[-1], device=attention.device)).sum(-1)
            for each, length in zip(time, batch.text_length.tolist(), strict=True):
                if length > 2:
                    with_number = torch.cat((torch.arange(length, device=each.device)[None], each[:, :length]))
                    scores.append(torch.corrcoef(with_number)[0, 1:].nan_to_num())
        mean = torch.stack(scores).mean(0)
        self.head.copy_(mean.argmax())
        logger.info("of the %d heads, number %d follows the text best (%.2f)", len(mean), self.head, mean.max())


def identity(dim: int) -> nn.Linear:
    """A linear layer that leaves things as they are until it is trained."""
    linear = nn.Linear(dim, dim, bias=False)
    nn.init.eye_(linear.weight)
    return linear
