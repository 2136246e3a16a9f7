import logging
import re
import shutil
from collections import namedtuple
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from taste.archives import read_array
from taste.errors import RecipeError
from taste.files import read_json
from taste.tables import read_int_table, read_table, write_table
from taste.text_and_features import FeatureOptions, check_space, write_text_and_features
from taste.whisper.weights import whisper_record

random = np.random.default_rng(0)


@pytest.fixture
def options(toy_pretrained_dir):
    return FeatureOptions(
        whisper_model="toy", pretrained_dir=str(toy_pretrained_dir), layers=["1", "last"], deep_layer="last",
        shallow_layer="1", storage="float32", pad_to_30s=False, dtype="float32", device="cpu", batch_seconds=2.0,
        token_type="whisper", sentencepiece_model=None, allow_pipes=False,
    )  # fmt: skip


@pytest.fixture
def data_dir(tmp_path):
    """Five good utterances."""
    data_dir = tmp_path / "data"
    utts = [f"utt{index}" for index in range(5)]
    sources, durations = {}, {}
    for index, utt in enumerate(utts):
        samples = random.normal(size=8000 + 3000 * index) * 0.1
        sources[utt], durations[utt] = str(tmp_path / f"{utt}.wav"), f"{len(samples) / 16000:.2f}"
        soundfile.write(sources[utt], samples, 16000)
    write_table(data_dir / "wav.scp", sources)
    write_table(data_dir / "utt2dur", durations)
    write_table(data_dir / "text", {utt: f"HELLO WORLD {utt}" for utt in utts})
    return data_dir


def change(table, utt, value):
    lines = read_table(table)
    write_table(table, {**lines, utt: value} if value is not None else {k: v for k, v in lines.items() if k != utt})


def test_every_utterance_has_tokens_and_each_layer(data_dir, tmp_path, options):
    write_text_and_features(data_dir, tmp_path / "ark", options)
    tokens = read_int_table(data_dir / "utt2token")
    assert tokens["utt3"][:3] == [675, 1913, 1002]
    assert (data_dir / "feats_deep.scp").readlink().name == "feats_last.scp"
    assert (data_dir / "feats_shallow.scp").readlink().name == "feats_l1.scp"
    deep, shallow = read_table(data_dir / "feats_deep.scp"), read_table(data_dir / "feats_shallow.scp")
    assert list(deep) == list(shallow) == list(tokens) == [f"utt{index}" for index in range(5)]
    for index, utt in enumerate(tokens):
        frames = (8000 + 3000 * index) // 160 // 2 + ((8000 + 3000 * index) // 160) % 2
        assert read_array(deep[utt]).shape == read_array(shallow[utt]).shape == (frames, 16)
    np.testing.assert_allclose(read_array(deep["utt0"]).mean(1), 0, atol=1e-3)  # after the LayerNorm of toy weights


def test_records_say_what_was_done(data_dir, tmp_path, options, toy_pretrained_dir):
    write_text_and_features(data_dir, tmp_path / "ark", options)
    feats = read_json(data_dir / "feats.json", "stage 4")
    assert feats["weights_sha256"] == whisper_record("toy", toy_pretrained_dir)["sha256"]
    expected = {"model": "toy", "layers": ["1", "last"], "dim": 16, "frames_per_second": 50, "pad_to_30s": False}
    assert expected.items() <= feats.items() and feats["storage"] == feats["dtype"] == "float32"
    assert read_json(data_dir / "tokens.json", "stage 4") == {"token_type": "whisper", "vocab_size": 51866}


def test_bad_utterances_are_named_and_left_out_of_everything(data_dir, tmp_path, options, caplog):
    soundfile.write(tmp_path / "utt0.wav", random.normal(size=(16000, 2)) * 0.1, 16000)
    (tmp_path / "utt1.wav").unlink()
    change(data_dir / "text", "utt2", "")
    change(data_dir / "text", "utt3", None)
    change(data_dir / "text", "utt9", "NO AUDIO")
    write_text_and_features(data_dir, tmp_path / "ark", options)
    for name in ("utt2token", "feats_deep.scp", "feats_shallow.scp"):
        assert list(read_table(data_dir / name)) == ["utt4"]
    for message in [
        "left out utt0: .*2 channels", r"left out utt1: .*utt1\.wav does not exist", "left out utt2.*: .*is empty",
        r"left out utt3.*: not in .*text", r"left out utt9.*: not in .*wav\.scp", "left out 5 of 6 utterances",
    ]:  # fmt: skip
        assert re.search(message, caplog.text), message


def test_layers_of_an_earlier_run_are_no_longer_listed(data_dir, tmp_path, options):
    write_text_and_features(data_dir, tmp_path / "ark", options)
    write_text_and_features(data_dir, tmp_path / "ark", replace(options, layers=["0", "last"], shallow_layer="0"))
    names = {path.name for path in data_dir.glob("feats*")}
    assert names == {"feats.json", "feats_l0.scp", "feats_last.scp", "feats_deep.scp", "feats_shallow.scp"}


def test_a_directory_without_one_good_utterance_stops_the_recipe_but_a_job_goes_on(data_dir, tmp_path, options):
    write_table(data_dir / "text", dict.fromkeys(read_table(data_dir / "text"), ""))
    with pytest.raises(RecipeError, match="none of the 5 utterances"):
        write_text_and_features(data_dir, tmp_path / "ark", options)
    write_text_and_features(data_dir, tmp_path / "ark", options, job="1")
    assert (data_dir / "utt2token").read_text() == ""


def test_jobs_write_archives_of_their_own(data_dir, tmp_path, options):
    write_text_and_features(data_dir, tmp_path / "ark", options, job="3")
    assert {path.name for path in (tmp_path / "ark").iterdir()} == {"feats_l1.3.ark", "feats_last.3.ark"}


@pytest.mark.parametrize("storage", ["float32", "float16", "compressed"])
def test_space_is_said_and_refused_before_work_starts(data_dir, tmp_path, options, storage, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    options = replace(options, storage=storage)
    needed = check_space(data_dir, tmp_path / "ark", options)
    assert "need 0 MB" in caplog.text
    write_text_and_features(data_dir, tmp_path / "ark", options)
    written = sum(path.stat().st_size for path in (tmp_path / "ark").iterdir())
    assert written < needed * 1.1 and needed < written * 1.3
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**6, 10**6 - needed + 1, needed - 1))
    with pytest.raises(RecipeError, match=r"need .* but .* has only"):
        write_text_and_features(data_dir, tmp_path / "other", options)
    assert list((tmp_path / "other").iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": ["3", "last"]}, "this Whisper model has 0, 1, 2, last"),
        ({"deep_layer": "2"}, "--deep_layer 2 is not among"),
        ({"storage": "int4"}, "--storage int4"),
        ({"batch_seconds": 0}, "--batch_seconds 0"),
        ({"device": "cuda:99"}, "--device cuda:99"),
        ({"dtype": "int8"}, "--dtype int8"),
        ({"token_type": "sentencepiece"}, "--sentencepiece_model"),
        ({"whisper_model": "base.en"}, r"whisper-base\.en\.safetensors does not exist; stage 3 makes it"),
    ],
)
def test_impossible_options_stop_before_work_starts(data_dir, tmp_path, options, changes, message):
    before = sorted(data_dir.iterdir())
    with pytest.raises(RecipeError, match=message):
        write_text_and_features(data_dir, tmp_path / "ark", replace(options, **changes))
    assert sorted(data_dir.iterdir()) == before


def test_dry_run_writes_nothing(data_dir, tmp_path, options):
    before = sorted(data_dir.iterdir())
    write_text_and_features(data_dir, tmp_path / "ark", options, dry_run=True)
    assert sorted(data_dir.iterdir()) == before


def test_missing_or_damaged_durations_are_named(data_dir, tmp_path, options):
    change(data_dir / "utt2dur", "utt1", "long")
    with pytest.raises(RecipeError, match="utt2dur: utt1"):
        check_space(data_dir, tmp_path / "ark", options)
    (data_dir / "utt2dur").unlink()
    with pytest.raises(RecipeError, match="utt2dur does not exist; stage 1 makes it"):
        check_space(data_dir, tmp_path / "ark", options)
