"""What a system samples by itself is measured against the recording, word by word."""

import numpy as np
import pytest

from taste.errors import RecipeError, UtteranceError
from taste.evaluation.free_running import Spoken, compare_durations, correlation, duration_correlation, summary
from taste.evaluation.unit_alignment import UnitAligner, likeliest_path
from taste.shuffled_speech import other_utterances
from taste.tables import write_table

RATE = 25
VOCABULARY = {"one": [1, 2, 3], "two": [4, 5, 6], "three": [7, 8, 9]}  # the units of each third of a word; 0 is silence


def say(words, seconds, pause=0.2):
    """Units of words that last so long, and their times; a pause after each."""
    units, times, now = [0] * 5, [], 0.2
    for word, length in zip(words, seconds, strict=True):
        n = round(length * RATE)
        units += [VOCABULARY[word][min(2, 3 * i // n)] for i in range(n)] + [0] * round(pause * RATE)
        times.append((word, now, now + n / RATE))
        now += n / RATE + pause
    return units, times


@pytest.fixture(scope="module")
def aligner(tmp_path_factory):
    folder, random = tmp_path_factory.mktemp("aligner"), np.random.default_rng(0)
    said = {f"utt{i:02d}": say(random.permutation(list(VOCABULARY)), random.uniform(0.3, 0.8, 3)) for i in range(30)}
    write_table(folder / "utt2s3", {utt: " ".join(map(str, units)) for utt, (units, _) in said.items()})
    lines = {utt: " ".join(f"{w} {s:.2f} {e:.2f}" for w, s, e in times) for utt, (_, times) in said.items()}
    write_table(folder / "utt2words", lines)
    return UnitAligner(folder, 10, RATE)


def test_words_are_found_with_pauses_and_without(aligner):
    for pause in (0.2, 0.0):
        units, times = say(["two", "one", "three"], [0.4, 0.8, 0.28], pause)
        found = aligner.durations(units, ["two", "one", "three"])
        assert found == pytest.approx([end - start for _, start, end in times], abs=1 / RATE)


def test_a_word_that_was_left_out_is_as_short_as_it_can_be(aligner):
    units, _ = say(["two", "three"], [0.4, 0.4])
    assert aligner.durations(units, ["two", "one", "three"])[1] == pytest.approx(3 / RATE)


def test_what_cannot_be_aligned_is_named(aligner):
    with pytest.raises(UtteranceError, match="the word four does not occur"):
        aligner.durations([1, 2, 3], ["four"])
    with pytest.raises(UtteranceError, match="8 units are too few for 3 words"):
        aligner.durations([1] * 8, ["one", "two", "three"])


def test_the_usual_duration_is_that_of_the_word(aligner):
    assert 0.3 < aligner.usual_duration["one"] < 0.8


def test_the_likeliest_path_goes_past_what_may_be_skipped():
    emission = np.log(np.array([[0.9, 0.1, 0.1], [0.05, 0.05, 0.05], [0.05, 0.85, 0.85]]))
    assert likeliest_path(emission, np.array([False, True, False])).tolist() == [0, 2, 2]
    assert likeliest_path(emission, np.array([False, False, False])).tolist() == [0, 1, 2]


def make_spoken(durations, reference):
    return Spoken(8, 4, 90, 100, False, durations, reference, [0.5] * len(durations))


def test_figures_by_hand():
    figures = summary({"a": make_spoken([0.4, 0.8], [0.5, 0.9]), "b": make_spoken([], [])})
    assert figures["unit_error_rate"] == pytest.approx(0.04) and figures["length_ratio"] == pytest.approx(0.9)
    assert figures["duration_correlation"] == pytest.approx(1) and figures["words"] == 2
    assert summary({"b": make_spoken([], [])})["duration_correlation"] is None
    assert correlation([1, 1], [1, 2]) is None


def test_durations_that_follow_the_recording_are_told_from_those_that_do_not():
    random = np.random.default_rng(0)
    true = {f"utt{i}": random.uniform(0.2, 0.9, 6) for i in range(60)}
    near = {u: make_spoken((x * random.uniform(0.9, 1.1, 6)).tolist(), x.tolist()) for u, x in true.items()}
    far = {u: make_spoken(random.uniform(0.2, 0.9, 6).tolist(), x.tolist()) for u, x in true.items()}
    for is_relative in (False, True):
        found = compare_durations(near, far, is_relative)
        assert 0.5 < found["low"] < found["difference"] < found["high"]
        assert compare_durations(near, near, is_relative)["difference"] == 0
    expected = (
        np.corrcoef(np.concatenate([near[u].durations for u in true]), np.concatenate([true[u] for u in true]))[0, 1]
        - np.corrcoef(np.concatenate([far[u].durations for u in true]), np.concatenate([true[u] for u in true]))[0, 1]
    )
    assert compare_durations(near, far, False)["difference"] == pytest.approx(expected)


def test_the_interval_is_around_the_correlation_of_the_summary():
    random = np.random.default_rng(0)
    true = random.uniform(0.2, 0.8, (30, 6))
    spoken = {f"utt{i}": make_spoken(list(row + random.normal(0, 0.1, 6)), list(row)) for i, row in enumerate(true)}
    figures = summary(spoken)
    for key, is_relative in (("duration_correlation", False), ("relative_duration_correlation", True)):
        found = duration_correlation(spoken, is_relative)
        assert found["difference"] == pytest.approx(figures[key])
        assert found["low"] < found["difference"] < found["high"] < 1


def test_shuffled_speech_is_of_the_same_voice_with_other_words(tmp_path):
    texts = {f"s{i % 2}-{i}": f"text {i // 4}" for i in range(12)}
    write_table(tmp_path / "text", texts)
    write_table(tmp_path / "utt2spk", {utt: utt.split("-")[0] for utt in texts})
    others = other_utterances(tmp_path)
    assert set(others) == set(texts) and others == other_utterances(tmp_path)
    for utt, other in others.items():
        assert utt.split("-")[0] == other.split("-")[0] and texts[utt] != texts[other]


def test_speech_cannot_be_shuffled_where_each_speaker_says_one_thing(tmp_path):
    write_table(tmp_path / "text", {"a": "one", "b": "two"})
    write_table(tmp_path / "utt2spk", {"a": "a", "b": "b"})
    with pytest.raises(RecipeError, match="no speaker has said two different things"):
        other_utterances(tmp_path)
