import json

import numpy as np
import pytest
import soundfile

from taste.corpus.librispeech import prepare_data
from taste.errors import RecipeError
from taste.tables import read_table

RATE = 16000


@pytest.fixture
def corpus(tmp_path):
    """Three speakers with four utterances of half a second each, in a folder whose name has a space."""
    root = tmp_path / "my corpus"
    for spk in ("103", "1034", "27"):
        add_chapter(root, spk, {f"{spk}-1-{number:04d}": f"WORD NUMBER {number}" for number in range(4)})
    return root


def add_chapter(root, spk, transcripts, part="train", chapter="1"):
    folder = root / part / spk / chapter
    folder.mkdir(parents=True)
    for utt in transcripts:
        write_audio(folder / f"{utt}.flac")
    lines = "".join(f"{utt} {text}\n" for utt, text in transcripts.items())
    (folder / f"{spk}-{chapter}.trans.txt").write_text(lines, encoding="utf-8")
    return folder


def write_audio(path, seconds=0.5, rate=RATE):
    noise = np.random.default_rng(0).normal(scale=0.1, size=int(seconds * rate))
    soundfile.write(path, noise.astype(np.float32), rate)


def test_tables_of_a_corpus(corpus, tmp_path):
    data = tmp_path / "data" / "train"
    prepare_data(corpus, ["train"], data)
    wav, spk = read_table(data / "wav.scp"), read_table(data / "utt2spk")
    assert len(wav) == 12
    assert list(wav) == sorted(wav)
    assert list(spk.items()) == sorted(spk.items(), key=lambda entry: (entry[1], entry[0]))  # Kaldi wants both orders
    assert wav["103-1-0000"] == str(corpus / "train" / "103" / "1" / "103-1-0000.flac")
    assert read_table(data / "text")["27-1-0003"] == "WORD NUMBER 3"
    assert read_table(data / "spk2utt")["103"].split() == [f"103-1-000{number}" for number in range(4)]
    assert float(read_table(data / "utt2dur")["27-1-0003"]) == 0.5
    assert not (data / "utt2words").exists()
    entries = [json.loads(line) for line in (data / "data.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [entry["utt"] for entry in entries] == list(wav)
    assert entries[0]["audio_path"] == wav["103-1-0000"] and entries[0]["text"] == "WORD NUMBER 0"


def test_word_times_that_fit_the_transcript_are_kept(corpus, tmp_path, caplog):
    (corpus / "train" / "27" / "1" / "27-1.words.txt").write_text(
        "27-1-0000 WORD 0.01 0.20 NUMBER 0.20 0.31 0 0.35 0.40\n27-1-0001 OTHER 0.01 0.20\n", encoding="utf-8"
    )
    prepare_data(corpus, ["train"], tmp_path / "data")
    words = read_table(tmp_path / "data" / "utt2words")
    assert words == {"27-1-0000": "WORD 0.01 0.20 NUMBER 0.20 0.31 0 0.35 0.40"}
    assert "27-1-0001: its word times do not fit" in caplog.text


def test_subsets_are_deterministic_and_spread_over_speakers(corpus, tmp_path):
    for name in ("a", "b"):
        prepare_data(corpus, ["train"], tmp_path / name, utts=6, seed=1)
    prepare_data(corpus, ["train"], tmp_path / "other", utts=6, seed=2)
    chosen = read_table(tmp_path / "a" / "utt2spk")
    assert chosen == read_table(tmp_path / "b" / "utt2spk") != read_table(tmp_path / "other" / "utt2spk")
    assert sorted(chosen.values()) == ["103", "103", "1034", "1034", "27", "27"]
    prepare_data(corpus, ["train"], tmp_path / "hours", hours=2.0 / 3600)
    assert len(read_table(tmp_path / "hours" / "text")) == 4


def test_dev_set_takes_whole_speakers_out_of_training(corpus, tmp_path):
    prepare_data(corpus, ["train"], tmp_path / "train", dev_dir=tmp_path / "dev", dev_utts=2)
    train, dev = read_table(tmp_path / "train" / "spk2utt"), read_table(tmp_path / "dev" / "spk2utt")
    assert len(dev) == 1 and len(train) == 2
    assert not set(train) & set(dev)
    with pytest.raises(RecipeError, match="leaves none of the 3 speakers"):
        prepare_data(corpus, ["train"], tmp_path / "train", dev_dir=tmp_path / "dev", dev_utts=9)


def test_parts_are_joined(corpus, tmp_path):
    add_chapter(corpus, "5", {"5-1-0000": "MORE"}, part="more")
    prepare_data(corpus, ["train", "more"], tmp_path / "data")
    assert len(read_table(tmp_path / "data" / "text")) == 13
    with pytest.raises(RecipeError, match="more than once"):
        prepare_data(corpus, ["train", "train"], tmp_path / "data")
    with pytest.raises(RecipeError, match=r"absent does not exist; stage 0"):
        prepare_data(corpus, ["absent"], tmp_path / "data")


def test_bad_utterances_are_named_counted_and_left_out(corpus, tmp_path, caplog):
    folder = corpus / "train" / "27" / "1"
    with open(folder / "27-1.trans.txt", "ab") as stream:
        stream.write(b"27-1-0100 NO AUDIO\n27-1-0101 \n27-1-0102 CAF\xe9\n")
        stream.write(b"27-1-0103 ONE\n27-1-0103 TWO\n99-1-0104 SPK\n")
        stream.write("".join(f"27-1-0{number} BAD AUDIO\n" for number in range(200, 204)).encode())
    for utt in ("27-1-0101", "27-1-0102", "27-1-0103", "99-1-0104", "27-1-0300", "27-1 0301"):
        write_audio(folder / f"{utt}.flac")
    write_audio(folder / "27-1-0200.flac", seconds=31)
    write_audio(folder / "27-1-0201.wav", seconds=0)
    (folder / "27-1-0202.flac").write_bytes(b"no sound")
    soundfile.write(folder / "27-1-0203.wav", np.full(800, np.nan, np.float32), RATE, subtype="FLOAT")
    add_chapter(corpus, "5", {"5-1-0000": "MORE"}, part="more")
    add_chapter(corpus, "5", {"5-1-0000": "AGAIN", "5-1-0001": "GOOD"}, part="again")

    prepare_data(corpus, ["train", "more", "again"], tmp_path / "data")

    assert len(read_table(tmp_path / "data" / "text")) == 13
    named = {
        "27-1-0100": "no audio file",
        "27-1-0101": "empty transcript",
        "27-1-0102": "not valid UTF-8",
        "27-1-0103": "two transcripts",
        "99-1-0104": "must begin with its speaker",
        "27-1-0300": "no transcript",
        "27-1 0301": "space",
        "27-1-0200": "31.0 s",
        "27-1-0201": "no samples",
        "27-1-0202": "cannot be read",
        "27-1-0203": "NaN",
        "5-1-0000": "more than once",
    }
    messages = [record.getMessage() for record in caplog.records]
    for utt, reason in named.items():
        (message,) = [line for line in messages if line.startswith(f"left out {utt}")]
        assert reason in message and "/" in message  # the file is named too
    assert any("left out 8 of 25" in line for line in messages)
    assert any("left out 4 of 17" in line for line in messages)


def test_nothing_usable_is_an_error_and_leaves_no_directory(tmp_path):
    folder = add_chapter(tmp_path / "corpus", "7", {"7-1-0000": "WORD"})
    (folder / "7-1-0000.flac").write_bytes(b"")
    with pytest.raises(RecipeError, match="none of the 1 utterances"):
        prepare_data(tmp_path / "corpus", ["train"], tmp_path / "data")
    assert not (tmp_path / "data").exists()
    (tmp_path / "corpus" / "empty").mkdir()
    with pytest.raises(RecipeError, match="hold no <speaker>/<chapter>/"):
        prepare_data(tmp_path / "corpus", ["empty"], tmp_path / "data")


def test_tables_of_other_utterances_are_set_aside(corpus, tmp_path):
    data_dir = tmp_path / "data"
    prepare_data(corpus, ["train"], data_dir, utts=1)
    (data_dir / "utt2s3").write_text("of-the-one-utterance 1 2\n")
    prepare_data(corpus, ["train"], data_dir, utts=1)
    assert (data_dir / "utt2s3").exists()
    prepare_data(corpus, ["train"], data_dir)
    assert not (data_dir / "utt2s3").exists()
    assert (data_dir / ".backup/utt2s3").read_text() == "of-the-one-utterance 1 2\n"
