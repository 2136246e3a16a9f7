"""An aggregator made of Whisper's own decoder, which attends to where a word was said from the first step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
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

    Keys of its cross-attention come from the deep layer, which it was trained on; values from the shallow one,
    normalized, through a projection that begins as the identity, one for each block, in place of Whisper's. `z` is the
    decoder's output.

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
        self.read = nn.ModuleList(nn.Linear(dim, dim, bias=False) for _ in self.blocks)
        for linear in self.read:
            nn.init.eye_(linear.weight)
        self.drop_unused()

    def drop_unused(self) -> None:
        """Remove what of the decoder is not needed: Whisper's projections of the values."""
        for block in self.blocks:
            del block.cross_attn.value

    def forward(
        self, text: Tensor, text_token: Tensor, text_length: Tensor, layers: Mapping[str, Tensor], frames: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As `Aggregator.forward`; the attention is that of all blocks' heads, and `text` is not looked at."""
        keys, values = layers[self.key_layer], layers[self.value_layers[0]]
        values = F.layer_norm(values, values.shape[-1:])
        real = length_mask(frames, keys.shape[1])
        token = torch.cat((self.prefix.expand(len(text_token), -1), text_token), dim=1)
        x = self.token_embedding(token) + self.positional_embedding[: token.shape[1]]
        causal = torch.full((token.shape[1],) * 2, -torch.inf, device=x.device).triu(1)
        attentions, found = [], []
        for block, linear in zip(self.blocks, self.read, strict=True):
            x = x + block.attn(block.attn_ln(x), mask=causal)[0]
            cross = block.cross_attn
            query = cross.query(block.cross_attn_ln(x))
            attentions.append(attention_over(keys, query, cross.key.weight, cross.n_head, real))
            found.append(read_values(attentions[-1], values, linear.weight))
            x = self.go_on(block, x, keys, attentions[-1], found[-1])
        return self.result(x, found)[:, PREFIX:], torch.cat(attentions, dim=1)[:, :, PREFIX:]

    def go_on(self, block: ResidualAttentionBlock, x: Tensor, keys: Tensor, attention: Tensor, found: Tensor) -> Tensor:
        """The states after a block, from those before its cross-attention."""
        x = x + block.cross_attn.out(found)
        return x + block.mlp(block.mlp_ln(x))

    def result(self, x: Tensor, found: Sequence[Tensor]) -> Tensor:
        """`z`, from the last block's states and from what each block's attention has found, prefix included."""
        return self.ln(x)

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
        if dim != self.positional_embedding.shape[1] or blocks < len(self.blocks):
            raise RecipeError(
                f"Whisper {name}'s decoder has {blocks} blocks of width {dim}, too few or of another width than the "
                f"configuration's aggregator_layers {len(self.blocks)} and aggregator_dim {self.positional_embedding.shape[1]}"
            )
        own = self.state_dict()
        taken = {key: value.float() for key, value in decoder.items() if key in own}
        embedding = own["token_embedding.weight"].clone()
        embedding[:vocab] = taken["token_embedding.weight"]
        languages = vocab - MULTILINGUAL_VOCAB + 99
        tokenizer = get_tokenizer(True, num_languages=languages, language="en", task="transcribe")
        prefix = torch.tensor(tokenizer.sot_sequence_including_notimestamps)
        self.load_state_dict({**own, **taken, "token_embedding.weight": embedding, "prefix": prefix})


class WhisperAttentionAggregator(WhisperAggregator):
    """The same decoder running as Whisper trained it, keys and values deep; its attention then reads the shallow layer.

    `z` is the sum of what the attention of each block finds in the shallow layer. So the attention stays where Whisper
    has learned to look, in deeper blocks too, and `z` holds nothing that the text alone would tell.
    """

    def drop_unused(self) -> None:
        """As `WhisperAggregator.drop_unused`: what follows the last attention."""
        last = self.blocks[-1]
        del self.ln, last.cross_attn.value, last.cross_attn.out, last.mlp, last.mlp_ln

    def go_on(self, block: ResidualAttentionBlock, x: Tensor, keys: Tensor, attention: Tensor, found: Tensor) -> Tensor:
        """As `WhisperAggregator.go_on`, with Whisper's own values of the deep layer in place of what was found."""
        if block is self.blocks[-1]:
            return x  # nothing looks at it any more
        value = block.cross_attn.value
        return super().go_on(block, x, keys, attention, read_values(attention, keys, value.weight) + value.bias)

    def result(self, x: Tensor, found: Sequence[Tensor]) -> Tensor:
        """As `WhisperAggregator.result`."""
        return sum(found)
