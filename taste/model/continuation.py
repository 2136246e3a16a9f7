"""The LM as decoding needs it: what it has read stays, and it goes on by a unit at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from taste.fixed_linear import FixedLinear
from taste.model.incremental import IncrementalEncoder
from taste.model.lm import CosyVoiceLM


class Continuation:
    """The LM after some sequences, to be led on by one unit each at a time.

    Sequences end together, in one column of the cache, and shorter ones begin later: then an utterance's distances
    are those between columns, whatever its length, and a step writes one column.
    """

    def __init__(self, lm: CosyVoiceLM, sequences: Sequence[Tensor], steps: int) -> None:
        """Read the sequences.

        Args:
            lm: in evaluation mode.
            sequences: of `CosyVoiceLM.sequences`, one an utterance.
            steps: how many units will follow at most.
        """
        device = sequences[0].device
        size = max(map(len, sequences))
        x = torch.stack([F.pad(sequence, (0, 0, size - len(sequence), 0)) for sequence in sequences])
        column = torch.arange(size + steps, device=device)
        begin = torch.tensor([size - len(sequence) for sequence in sequences], device=device)
        self.padding = (column < begin[:, None])[:, None, None]  # (batch, 1, 1, size + steps)
        self.padded = min(map(len, sequences)) < size
        # A column of padding sees itself: over nothing at all, softmax has no value.
        after = column[:size, None] < column[:size]
        hidden = (after | self.padding[..., :size]) & ~torch.eye(size, dtype=torch.bool, device=device)
        self.speech_embedding = lm.speech_embedding
        dtype = torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else torch.float32
        with torch.autocast(device.type, enabled=False):
            self.llm = IncrementalEncoder(lm.llm, len(x), size + steps, dtype)
            self.llm_decoder = FixedLinear.of(lm.llm_decoder, dtype)
        self.column = torch.tensor([size], device=device)  # the first that is not filled, for `append_reserved`
        # (batch, speech_token_size + 1), of the next unit
        self.logits = self._logits(lambda: self.llm.extend(x, hidden))

    def append(self, unit: Tensor) -> None:
        """Go on by the units (batch,)."""
        x = self.speech_embedding(unit[:, None])
        hidden = self.padding[..., : self.llm.length + 1] if self.padded else None
        self.logits = self._logits(lambda: self.llm.extend(x, hidden))

    def reserve(self, steps: int) -> None:
        """Let the next units be appended by `append_reserved`."""
        self.llm.reserve(steps)

    def append_reserved(self, unit: Tensor) -> None:
        """`append` as work that a CUDA graph can repeat (`taste.model.cuda_graph`), up to the steps reserved.

        It looks at all columns that are reserved and hides those that are not filled yet.
        """
        x = self.speech_embedding(unit[:, None])
        padding = self.padding[..., : self.llm.length]
        self.logits = self._logits(lambda: self.llm.extend_reserved(x, self.column, padding))
        self.column += 1

    def keep(self, rows: Tensor) -> None:
        """Leave behind all utterances but those that are true in `rows` (batch,)."""
        self.padding = self.padding[rows]
        self.llm.keep(rows)

    def _logits(self, read: Callable[[], Tensor]) -> Tensor:
        with torch.autocast(self.column.device.type, enabled=False):
            return self.llm_decoder(read()[:, -1]).float()
