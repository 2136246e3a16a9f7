"""The control that gives each utterance the speech of another one."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np

from taste.errors import RecipeError
from taste.tables import read_table


def other_utterances(data_dir: Path) -> dict[str, str]:
    """For each utterance another one of the same speaker that says something else, drawn from a fixed seed.

    An utterance whose speaker has said nothing else is left with none.

    Raises:
        RecipeError: no speaker has said two different things.
    """
    texts, speakers = read_table(data_dir / "text", "stage 1"), read_table(data_dir / "utt2spk", "stage 1")
    by_speaker = defaultdict(list)
    for utt in texts:
        by_speaker[speakers.get(utt, utt)].append(utt)
    others = {}
    for utts in by_speaker.values():
        order = np.random.default_rng(0).permutation(len(utts))
        ring = [utts[i] for i in order]
        for i, utt in enumerate(ring):
            following = ring[i + 1 :] + ring[:i]
            other = next((each for each in following if texts[each] != texts[utt]), None)
            if other is not None:
                others[utt] = other
    if not others:
        raise RecipeError(f"{data_dir}: no speaker has said two different things, so no speech can be exchanged")
    return others
