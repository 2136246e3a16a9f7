"""Autoregressive decoding: units for text states and a speaker, for a batch of utterances at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from taste.errors import RecipeError, UtteranceError
from taste.model.incremental import FixedLinear, IncrementalEncoder
from taste.model.lm import CosyVoiceLM
from taste.model.sampling import Sampling, uniform_numbers


@dataclass(frozen=True)
class Limits:
    """The fewest and the most units that a text token may have.

    Upstream has 2 and 20, at 50 units a second. A fifth of LibriSpeech needs more than 20 then, so `for_rate` has
    another default.

    Raises:
        RecipeError: no such limits can be kept.
    """

    min_units: float
    max_units: float

    def __post_init__(self) -> None:
        if not 0 <= self.min_units <= self.max_units or self.max_units == 0:
            raise RecipeError(
                f"limits of {self.min_units:g} to {self.max_units:g} units a text token: the least has to be 0 or more "
                "and the most above 0 and no less than the least"
            )

    @classmethod
    def for_rate(cls, rate: float) -> Limits:
        """Limits for units of which there are `rate` a second: a text token takes 0.04 to 1.2 seconds.

        0.04 s is upstream's least. Of 160 LibriSpeech utterances in Whisper's tokens the slowest has 0.69 s a token,
        and of egs/mini's 0.91 s; upstream's most would be 0.4 s.
        """
        return cls(0.04 * rate, 1.2 * rate)


@dataclass(frozen=True)
class Prompt:
    """Speech for the LM to go on from: its text stands before the text to be spoken, its units before the new ones."""

    text_length: Tensor  # (batch,), how many of an utterance's text states are the prompt's
    unit: Tensor  # (batch, prompt units), int64; padding may be any valid id
    unit_length: Tensor  # (batch,)


@dataclass(frozen=True)
class Decoded:
    """New units of a batch, without the prompts' and without the end of speech."""

    unit: Tensor  # (batch, longest), int64, zero in padding
    unit_length: Tensor  # (batch,)
    at_limit: Tensor  # (batch,), true where the utterance did not end by itself
    read: Tensor  # (batch,), how many text states the LM went on from


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
        self.logits = self._extend(x, hidden)  # (batch, speech_token_size + 1), of the next unit

    def append(self, unit: Tensor) -> None:
        """Go on by the units (batch,)."""
        hidden = self.padding[..., : self.llm.length + 1] if self.padded else None
        self.logits = self._extend(self.speech_embedding(unit[:, None]), hidden)

    def keep(self, rows: Tensor) -> None:
        """Leave behind all utterances but those that are true in `rows` (batch,)."""
        self.padding = self.padding[rows]
        self.llm.keep(rows)

    def _extend(self, x: Tensor, hidden: Tensor | None) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return self.llm_decoder(self.llm.extend(x, hidden)[:, -1]).float()


@torch.no_grad()
def decode(
    lm: CosyVoiceLM,
    utts: Sequence[str],
    text: Tensor,
    text_length: Tensor,
    spk_emb: Tensor,
    sampling: Sampling,
    limits: Limits,
    seed: int,
    prompt: Prompt | None = None,
    tokens: Tensor | None = None,
) -> Decoded:
    """Sample the units of a batch; upstream's `TransformerLM.inference`, for many utterances at once.

    In float32 an utterance's units do not depend on those it is batched with, nor on the device's random numbers. In
    bfloat16 rounding, which depends on the batch's shape, may lead to others.

    Args:
        lm: in evaluation mode.
        utts: utterance ids, for the random numbers and for messages.
        text: (batch, text, dim): `v` or `e_joint`, the prompt's text first.
        text_length: (batch,), the prompt's text included.
        spk_emb: (batch, spk_embed_dim).
        sampling: how a unit is chosen.
        limits: of the units in relation to the text without the prompt's; below the least the end of speech is not
            chosen.
        seed: with the utterance id it determines the random numbers.
        prompt: None for none.
        tokens: (batch,), how many text tokens the limits count, where these are not the text states.

    Raises:
        UtteranceError: an utterance has no text to speak, a prompt's unit is not in the vocabulary, or the LM's
            output is not finite.
    """
    if prompt is None:
        none = torch.zeros_like(text_length)
        prompt = Prompt(none, none.new_zeros(len(utts), 0), none)
    least, most = _unit_limits(limits, utts, (text_length if tokens is None else tokens) - prompt.text_length)
    _check_prompt(utts, prompt, lm.speech_token_size)
    sequences = lm.sequences(text, text_length, prompt.unit, prompt.unit_length, spk_emb)
    uniform = uniform_numbers(seed, utts, most).to(text.device)
    steps = len(uniform)
    least, most = torch.tensor(least, device=text.device), torch.tensor(most, device=text.device)
    unit = torch.zeros(len(utts), steps, dtype=torch.long, device=text.device)
    ended = torch.zeros(len(utts), dtype=torch.bool, device=text.device)
    unit_length = torch.zeros_like(most)
    continuation = Continuation(lm, sequences, steps)
    _check_finite(utts, continuation.logits)
    end = lm.speech_token_size
    rows = torch.arange(len(utts), device=text.device)  # the utterances that are not finished
    for step in range(steps):
        logits = continuation.logits
        logits[:, end].masked_fill_(step < least[rows], -torch.inf)
        recent = unit[rows, max(0, step - sampling.window) : step]
        chosen = sampling.choose(logits, recent, uniform[step, rows])
        ended[rows] = chosen == end
        unit[rows, step] = chosen.where(chosen != end, 0)
        unit_length[rows] += chosen != end
        goes_on = (chosen != end) & (step + 1 < most[rows])
        if not goes_on.all():
            rows = rows[goes_on]
            if not len(rows):
                break
            continuation.keep(goes_on)
        continuation.append(unit[rows, step])
    return Decoded(unit[:, : int(unit_length.max())], unit_length, ~ended, text_length)


def _unit_limits(limits: Limits, utts: Sequence[str], text_length: Tensor) -> tuple[list[int], list[int]]:
    """The fewest and the most units of each utterance, rounded down as upstream does."""
    tokens = text_length.tolist()
    for utt, n in zip(utts, tokens, strict=True):
        if n < 1:
            raise UtteranceError(f"{utt} has no text to speak; leave it out or give it a text")
        if n * limits.max_units < 1:
            raise UtteranceError(
                f"{utt}: at most {limits.max_units:g} units for each of its {n} text tokens is less than one unit; "
                "allow more"
            )
    return [int(n * limits.min_units) for n in tokens], [int(n * limits.max_units) for n in tokens]


def _check_prompt(utts: Sequence[str], prompt: Prompt, vocabulary: int) -> None:
    outside = ((prompt.unit < 0) | (prompt.unit >= vocabulary)).any(1).tolist()
    for utt, is_outside in zip(utts, outside, strict=True):
        if is_outside:
            raise UtteranceError(
                f"{utt}: its prompt has units outside 0 to {vocabulary - 1}; the prompt's units have to be made as "
                "those that the model was trained on"
            )


def _check_finite(utts: Sequence[str], logits: Tensor) -> None:
    for utt, is_finite in zip(utts, logits.isfinite().all(1).tolist(), strict=True):
        if not is_finite:
            raise UtteranceError(f"{utt}: the model's output is not finite; check its weights, text and features")
