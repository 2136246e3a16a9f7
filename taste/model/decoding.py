"""Autoregressive decoding: units for text states and a speaker, for a batch of utterances at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from taste.errors import RecipeError, UtteranceError
from taste.model.continuation import Continuation
from taste.model.cuda_graph import Repeated
from taste.model.lm import CosyVoiceLM
from taste.model.sampling import Sampling, uniform_numbers

STRETCH = 256  # steps that one CUDA graph serves, each of which looks at the columns of all of them
LOOK = 16  # steps between two looks at who has finished, which wait for the GPU


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
    continuation = Continuation(lm, sequences, len(uniform))
    _check_finite(utts, continuation.logits)
    least, most = torch.tensor(least, device=text.device), torch.tensor(most, device=text.device)
    speaking = Speaking(continuation, sampling, uniform, least, most, lm.speech_token_size)
    take_steps = advance_by_graphs if text.is_cuda else advance
    take_steps(speaking, len(uniform) - 1)
    unit, unit_length = speaking.unit, speaking.unit_length
    return Decoded(unit[:, : int(unit_length.max())], unit_length, ~speaking.ended, text_length)


class Speaking:
    """Utterances of which some units are chosen.

    Attributes:
        rows: (speaking,), numbers of the utterances that are led on.
        goes_on: (speaking,), true where the last unit chosen has a next one.
        unit: (batch, steps), the units so far; zero from an utterance's end on.
        unit_length: (batch,).
        ended: (batch,), true where the end of speech was chosen.
    """

    def __init__(
        self, continuation: Continuation, sampling: Sampling, uniform: Tensor, least: Tensor, most: Tensor, end: int
    ) -> None:
        """Choose the first units.

        Args:
            continuation: the LM after what comes before the units.
            uniform: (steps, batch, 2), of `uniform_numbers`.
            least, most: (batch,), how many units an utterance has.
            end: number of the end of speech.
        """
        steps, batch, _ = uniform.shape
        device = uniform.device
        self.continuation, self.sampling, self.end = continuation, sampling, end
        self.uniform, self.least, self.most = uniform, least, most
        self.step = torch.zeros(1, dtype=torch.long, device=device)
        self.back = torch.arange(sampling.window, 0, -1, device=device)
        self.rows = torch.arange(batch, device=device)
        self.goes_on = torch.ones(batch, dtype=torch.bool, device=device)
        self.unit = torch.zeros(batch, steps, dtype=torch.long, device=device)
        self.unit_length = torch.zeros(batch, dtype=torch.long, device=device)
        self.ended = torch.zeros(batch, dtype=torch.bool, device=device)
        self._choose()

    def advance(self) -> None:
        """Lead the LM on by the last units, and choose the next."""
        self._advance(self.continuation.append)

    def advance_reserved(self) -> None:
        """The same as work that a CUDA graph can repeat, as `Continuation.append_reserved`."""
        self._advance(self.continuation.append_reserved)

    def keep(self) -> None:
        """Leave behind the utterances that are finished."""
        self.continuation.keep(self.goes_on)
        self.rows, self.goes_on = self.rows[self.goes_on], self.goes_on[self.goes_on]

    def _advance(self, append: Callable[[Tensor], None]) -> None:
        append(self.unit[self.rows, self.step])
        self.step += 1
        self._choose()

    def _choose(self) -> None:
        rows, logits = self.rows, self.continuation.logits
        logits[:, self.end].masked_fill_(self.step < self.least[rows], -torch.inf)
        before = self.step - self.back
        recent = self.unit[rows[:, None], before.clamp(min=0)].masked_fill(before < 0, -1)
        chosen = self.sampling.choose(logits, recent, self.uniform[self.step, rows])
        is_unit = self.goes_on & (chosen != self.end)
        self.ended[rows] |= self.goes_on & (chosen == self.end)
        self.unit[rows, self.step] = chosen * is_unit
        self.unit_length[rows] += is_unit
        self.goes_on &= is_unit & (self.step + 1 < self.most[rows])


def advance(speaking: Speaking, steps: int) -> None:
    """Take the steps, or as many as are needed, leaving utterances behind as soon as they are finished."""
    for _ in range(steps):
        if not speaking.goes_on.all():
            if not speaking.goes_on.any():
                return
            speaking.keep()
        speaking.advance()


def advance_by_graphs(speaking: Speaking, steps: int) -> None:
    """The same on a GPU, in stretches of steps that have one shape and are repeated as a CUDA graph."""
    for first in range(0, steps, STRETCH):
        if not speaking.goes_on.any():
            return
        speaking.keep()
        stretch = min(STRETCH, steps - first)
        speaking.continuation.reserve(stretch)
        repeated = Repeated(speaking.advance_reserved, speaking.unit.device)
        for step in range(stretch):
            if step % LOOK == 0 and not speaking.goes_on.any():
                return
            repeated()


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
