"""Text-aligned editing: TASTE tokens of words replaced by those of another utterance with the same words.

A text-aligned token can be exchanged for another of the same text. If the tokens carry how a word is said, the word
then is said as in the donor, and the words around it are said as before. `random` is the same edit with tokens of other
words, which a system may take for speech that says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from taste.errors import UtteranceError
from taste.tables import read_int_table, read_table

BEFORE, EDITED, RANDOM = "before", "edited", "random"
EDITS = "edits/edits.json"  # in exp


@dataclass(frozen=True)
class Edit:
    """Words of an utterance that a donor says too.

    Attributes:
        utt: the utterance that is edited.
        donor: another one of the same speaker.
        words: of each edited word, its number in the utterance and in the donor.
    """

    utt: str
    donor: str
    words: tuple[tuple[int, int], ...]


def choose_edits(data_dir: Path, seed: int) -> dict[str, Edit]:
    """For each utterance that shares words with another of its speaker, such another one, drawn by the seed.

    All shared words are edited, except where they have another number of tokens: a transcript's first word has no space
    before it.

    Returns:
        By utterance; those that share no word are not in it.
    """
    words = {utt: text.split() for utt, text in read_table(data_dir / "text", "stage 1").items()}
    tokens = read_int_table(data_dir / "utt2word_tokens", "stage 4")
    utt2spk = read_table(data_dir / "utt2spk", "stage 1")
    rng = np.random.default_rng(seed)
    edits = {}
    for utt in sorted(tokens):
        donors = {}
        for other in sorted(tokens):
            if other != utt and utt2spk[other] == utt2spk[utt]:
                pairs = shared_words(words[utt], words[other])
                pairs = tuple((own, its) for own, its in pairs if tokens[utt][own] == tokens[other][its])
                if pairs:
                    donors[other] = pairs
        if donors:
            donor = list(donors)[rng.integers(len(donors))]
            edits[utt] = Edit(utt, donor, donors[donor])
    return edits


def shared_words(words: Sequence[str], others: Sequence[str]) -> list[tuple[int, int]]:
    """Numbers of the same words in two transcripts; of a word that occurs twice, the first goes with the first."""
    places: dict[str, list[int]] = {}
    for number, word in enumerate(others):
        places.setdefault(word, []).append(number)
    return [(number, places[word].pop(0)) for number, word in enumerate(words) if places.get(word)]


def replace_tokens(
    edits: Mapping[str, Edit], tokens: Mapping[str, np.ndarray], word_tokens: Mapping[str, Sequence[int]], seed: int
) -> dict[str, dict[str, np.ndarray]]:
    """The tokens before and after the edits.

    Args:
        tokens: TASTE tokens of every utterance, (text tokens, codebooks).
        word_tokens: how many text tokens each word of an utterance has.
        seed: of the random edit, whose tokens are drawn from all of `tokens`.

    Returns:
        `before`, `edited` and `random`, each by utterance.

    Raises:
        UtteranceError: an utterance has another number of tokens than its words have together.
    """
    rng = np.random.default_rng(seed)
    pool = np.concatenate([tokens[utt] for utt in sorted(tokens)])
    made: dict[str, dict[str, np.ndarray]] = {BEFORE: {}, EDITED: {}, RANDOM: {}}
    for utt, edit in edits.items():
        own, its = (_places(each, tokens, word_tokens) for each in (utt, edit.donor))
        edited, random = tokens[utt].copy(), tokens[utt].copy()
        for own_word, its_word in edit.words:
            edited[own[own_word]] = tokens[edit.donor][its[its_word]]
            random[own[own_word]] = pool[rng.integers(len(pool), size=len(edited[own[own_word]]))]
        made[BEFORE][utt], made[EDITED][utt], made[RANDOM][utt] = tokens[utt], edited, random
    return made


def _places(utt: str, tokens: Mapping[str, np.ndarray], word_tokens: Mapping[str, Sequence[int]]) -> list[slice]:
    """Where the tokens of each word stand."""
    ends = np.cumsum(word_tokens[utt])
    if ends[-1] != len(tokens[utt]):
        raise UtteranceError(
            f"{utt} has {len(tokens[utt])} TASTE tokens, but {ends[-1]} text tokens; run stage 10 again"
        )
    return [slice(int(end - length), int(end)) for end, length in zip(ends, word_tokens[utt], strict=True)]
