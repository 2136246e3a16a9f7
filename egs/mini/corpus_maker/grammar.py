"""The sentences of the corpus: one choice from each of six slots."""

from __future__ import annotations

import itertools

import numpy as np

SLOTS = (
    ("our neighbor", "my brother", "the teacher", "my sister", "the doctor", "the children"),
    ("found", "delivered", "counted", "discovered", "painted", "remembered"),
    ("twenty", "fifty", "five", "seven", "many", "several"),
    ("yellow", "broken", "beautiful", "wonderful", "little", "small"),
    ("pictures", "tables", "candles", "flowers", "houses", "letters"),
    ("yesterday", "this morning", "last summer", "on friday", "before dinner", "after breakfast"),
)


def draw_sentences(generator: np.random.Generator, count: int) -> list[list[str]]:
    """Draw `count` different sentences, each a list of its words in lower case."""
    sentences = list(itertools.product(*SLOTS))
    chosen = generator.permutation(len(sentences))[:count]
    return [" ".join(sentences[index]).split() for index in chosen]
