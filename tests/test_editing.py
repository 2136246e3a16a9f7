"""Tokens of words exchanged between utterances."""

import numpy as np
import pytest

from taste.editing.edits import BEFORE, EDITED, RANDOM, Edit, choose_edits, replace_tokens, shared_words
from taste.editing.speech import summarize
from taste.errors import UtteranceError
from taste.tables import write_table

TEXT = {"a1": "THE OLD CAT SLEPT", "a2": "AN OLD DOG SLEPT", "a3": "NO WORDS", "b1": "THE OLD HORSE"}
WORD_TOKENS = {"a1": [1, 1, 2, 1], "a2": [1, 1, 1, 2], "a3": [1, 1], "b1": [1, 1, 1]}


@pytest.fixture
def data_dir(tmp_path):
    write_table(tmp_path / "text", TEXT)
    write_table(tmp_path / "utt2word_tokens", {utt: " ".join(map(str, row)) for utt, row in WORD_TOKENS.items()})
    write_table(tmp_path / "utt2spk", {utt: utt[0] for utt in TEXT})
    return tmp_path


def tokens():
    """Two codebooks; each integer says which utterance and token it is of."""
    return {
        utt: 100 * number + np.arange(2 * sum(row)).reshape(-1, 2)
        for number, (utt, row) in enumerate(WORD_TOKENS.items())
    }


def test_a_word_that_occurs_twice_is_shared_in_order():
    assert shared_words(["ON", "AND", "ON"], ["ON", "THEN", "ON", "ON"]) == [(0, 0), (2, 2)]


def test_donors_are_of_the_same_speaker_and_words_of_as_many_tokens(data_dir):
    edits = choose_edits(data_dir, seed=1)
    assert edits == {"a1": Edit("a1", "a2", ((1, 1),)), "a2": Edit("a2", "a1", ((1, 1),))}


def test_speakers_who_share_no_word_give_nothing(data_dir):
    write_table(data_dir / "utt2spk", {utt: utt for utt in TEXT})
    assert choose_edits(data_dir, seed=1) == {}


def test_the_tokens_of_the_words_are_replaced_and_no_others():
    own = tokens()
    edits = {"a1": Edit("a1", "a2", ((1, 1), (3, 1)))}
    made = replace_tokens(edits, own, WORD_TOKENS, seed=3)
    assert made[BEFORE]["a1"].tolist() == own["a1"].tolist()
    assert made[EDITED]["a1"][[1, 4]].tolist() == own["a2"][[1, 1]].tolist()
    for variant in (EDITED, RANDOM):
        assert made[variant]["a1"][[0, 2, 3]].tolist() == own["a1"][[0, 2, 3]].tolist()
    everything = np.concatenate(list(own.values())).tolist()
    assert all(row in everything for row in made[RANDOM]["a1"].tolist())
    again = replace_tokens(edits, own, WORD_TOKENS, seed=3)
    assert made[RANDOM]["a1"].tolist() == again[RANDOM]["a1"].tolist()


def test_tokens_that_do_not_fit_the_words_are_refused():
    with pytest.raises(UtteranceError, match="a1 has 4 TASTE tokens, but 5"):
        replace_tokens({"a1": Edit("a1", "a2", ((1, 1),))}, {**tokens(), "a1": tokens()["a1"][:4]}, WORD_TOKENS, 1)


def test_a_change_that_follows_the_donor_is_told_from_one_that_does_not():
    edits = [Edit("a", "d", ((0, 1),)), Edit("b", "d", ((1, 0),)), Edit("c", "d", ((0, 0),)), Edit("x", "d", ((0, 0),))]
    before = {"a": np.array([1.0, 1.0]), "b": np.array([2.0, 1.0]), "c": np.array([1.0, np.nan]), "x": np.array([1.0])}
    after = {"a": np.array([2.0, 1.0]), "b": np.array([2.0, 0.5]), "c": np.array([1.0, 3.0])}
    recorded = {
        "a": np.array([1.0, 1.0]),
        "b": np.array([1.0, 4.0]),
        "c": np.array([2.0, 1.0]),
        "d": np.array([2.0, 2.0]),
    }
    found = summarize(edits, before, after, {**recorded, "x": np.array([1.0])})
    assert found["edited_change"] == pytest.approx(1.0)  # factors 2, 1/2 and 1
    assert found["untouched_change"] == 0
    assert found["follows"] == pytest.approx(1.0)
    assert (found["edited_words"], found["untouched_words"]) == (3, 2)
    after["a"], after["b"] = np.array([0.5, 1.0]), np.array([2.0, 2.0])
    assert summarize(edits, before, after, recorded)["follows"] == pytest.approx(-1.0)
