"""The embedding of text tokens, which need not train all of a large vocabulary."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TextEmbedding(nn.Embedding):
    """`nn.Embedding`, whose parameter `weight` can be narrowed to the tokens that a training set has.

    Whisper knows 51,866 tokens, egs/mini's text 45. The rows of the others have no gradient and no decay, and so never
    change; but to fill a gradient with zeros for them, to take its norm and to let the optimizer pass over it cost a
    small model up to a tenth of its training time. Narrowed or not, the state dict holds the rows of all tokens.
    """

    all_rows: Tensor | None = None  # (tokens, dim) once narrowed; those in `weight` are behind

    def narrow(self, tokens: Tensor) -> None:
        """Keep only the rows of some tokens as the parameter `weight`; no others may be looked up from then on.

        To be called before an optimizer is given the parameters.

        Args:
            tokens: (n,) ids, each once.
        """
        self.all_rows = self.weight.detach()
        self.tokens = tokens.to(self.all_rows.device)
        self.weight = nn.Parameter(self.all_rows[self.tokens])
        # padding, whatever its id, looks up the first row
        self.row = torch.zeros(self.num_embeddings, dtype=torch.long, device=self.all_rows.device)
        self.row[self.tokens] = torch.arange(len(tokens), device=self.all_rows.device)

    def forward(self, text_token: Tensor) -> Tensor:
        """(batch, text) ids -> (batch, text, dim)."""
        return super().forward(text_token) if self.all_rows is None else F.embedding(self.row[text_token], self.weight)

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self.all_rows is not None:
            weight = destination[prefix + "weight"]
            destination[prefix + "weight"] = self.all_rows.index_copy(0, self.tokens, weight)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        name = prefix + "weight"
        if self.all_rows is not None and name in state_dict:
            self.all_rows.copy_(state_dict[name])
            state_dict = {**state_dict, name: self.all_rows[self.tokens]}
        super()._load_from_state_dict(state_dict, prefix, *arguments)
