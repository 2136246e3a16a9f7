"""egs/mini/corpus as it ships."""

import json
from pathlib import Path

import pytest
import soundfile

from taste.tables import read_table

EXAMPLE = Path(__file__).parents[1] / "egs/mini"
CORPUS = EXAMPLE / "corpus"
UTTERANCES = {"train": 1020, "dev": 84, "test": 150, "test_unseen": 80}


def transcripts(name):
    table = {}
    for path in CORPUS.glob(f"{name}/*/*/*.trans.txt"):
        table.update(read_table(path))
    return table


def speakers(name):
    return {path.name for path in (CORPUS / name).iterdir()}


@pytest.mark.parametrize("name", UTTERANCES)
def test_every_utterance_has_transcript_audio_and_word_times(name):
    texts = transcripts(name)
    assert len(texts) == UTTERANCES[name]
    words = {}
    for path in CORPUS.glob(f"{name}/*/*/*.words.txt"):
        words.update(read_table(path))
    audio = {path.stem: path for path in CORPUS.glob(f"{name}/*/*/*.opus")}
    assert set(texts) == set(words) == set(audio)
    for utt, text in texts.items():
        sound = soundfile.info(audio[utt])
        assert (sound.samplerate, sound.channels) == (16000, 1), utt
        fields = words[utt].split()
        assert " ".join(fields[::3]) == text, utt
        spans = zip(map(float, fields[1::3]), map(float, fields[2::3]), strict=True)
        before = 0.0
        for start, end in spans:
            assert before <= start < end, utt
            before = end
        assert before <= sound.duration, utt


def test_no_sentence_occurs_twice():
    texts = [text for name in UTTERANCES for text in transcripts(name).values()]
    assert len(set(texts)) == sum(UTTERANCES.values())


def test_the_voices_of_test_unseen_are_in_no_other_set():
    assert len(speakers("train")) >= 6
    assert speakers("train") == speakers("dev") == speakers("test")
    assert len(speakers("test_unseen")) >= 2
    assert not speakers("test_unseen") & speakers("train")


def test_prosody_is_recorded_for_every_word():
    records = [json.loads(line) for line in (CORPUS / "prosody.jsonl").read_text().splitlines()]
    texts = {utt: text for name in UTTERANCES for utt, text in transcripts(name).items()}
    assert {record["utt"] for record in records} == set(texts)
    for record in records:
        count = len(texts[record["utt"]].split())
        assert len(record["word_durations"]) == len(record["word_pitches"]) == len(record["pauses"]) == count


def test_the_corpus_stays_under_ten_megabytes():
    assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) <= 10_000_000
