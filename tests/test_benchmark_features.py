"""The sides of the benchmark's rows on features and units do the work that they are said to do."""

import copy
import math
import tempfile

import numpy as np
import pytest
import soundfile
import torch
from torch.utils.flop_counter import FlopCounterMode

from taste.archives import read_array
from taste.benchmark import features, units
from taste.benchmark.ctranslate2 import save_ctranslate2
from taste.benchmark.speech import SECONDS, utterances
from taste.errors import RecipeError
from taste.tables import read_table
from taste.units.kmeans import nearest
from taste.whisper.ctranslate2 import read_variables, whisper_state
from taste.whisper.features import encode


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where the sides put their temporary folders."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def settings(toy_pretrained_dir):
    return {"model": "toy", "pretrained_dir": str(toy_pretrained_dir), "of_each": 1, "corpus": None}


def written(folder, name):
    (scp,) = folder.glob(f"**/{name}.scp")
    return {utt: read_array(location) for utt, location in read_table(scp).items()}


def test_ours_and_openai_whispers_write_the_same_two_layers(folder, settings):
    ours = features.ours(**settings, dtype="float32")
    theirs = features.openai_whisper(**settings, padded=False)
    assert ours() == ours() == theirs() > 0
    for name, layer in (("feats_l2", "2"), ("feats_last", "last")):
        found, expected = written(folder, name), written(folder, layer)
        assert [len(matrix) for matrix in found.values()] == [50 * seconds for seconds in SECONDS]
        for utt, matrix in expected.items():
            np.testing.assert_allclose(found[utt], matrix, atol=0.01)  # float16


def test_windows_of_30_s_give_other_values_but_as_many(folder, settings):
    windows = features.openai_whisper(**settings, padded=True)
    assert windows() > 0
    padded = written(folder, "last")
    assert [len(matrix) for matrix in padded.values()] == [50 * seconds for seconds in SECONDS]


@pytest.mark.parametrize(("padded", "batch"), [(False, 1), (True, 3)])
def test_faster_whisper_writes_the_last_layer(folder, settings, padded, batch):
    pytest.importorskip("faster_whisper", reason="needs requirements-benchmark.txt")
    assert "float32" in features.compute_types()
    theirs = features.faster_whisper(**settings, padded=padded, compute_type="float32", batch=batch)
    same = features.openai_whisper(**settings, padded=padded)
    assert theirs() == same() > 0
    (own,) = (path.parent for path in folder.glob("*/model"))
    (other,) = (path for path in folder.iterdir() if path != own)
    found, expected = written(own, "last"), written(other, "last")
    for utt, matrix in expected.items():
        difference = np.abs(found[utt].astype(np.float32) - matrix.astype(np.float32))
        # after the speech faster-whisper's windows hold zeros in the log-mel, openai-whisper's the log-mel of silence
        assert difference.mean() < (0.2 if padded else 0.01), utt


def test_what_is_written_for_ctranslate2_is_the_model(toy_whisper, tmp_path):
    pytest.importorskip("ctranslate2", reason="needs requirements-benchmark.txt")
    toy_whisper = copy.deepcopy(toy_whisper)
    for parameter in toy_whisper.parameters():
        torch.nn.init.normal_(parameter)  # equal ones would be written once
    save_ctranslate2(toy_whisper, tmp_path / "model")
    dims, state = whisper_state(read_variables(tmp_path / "model/model.bin"))
    expected = toy_whisper.state_dict()
    assert dims == vars(toy_whisper.dims) and state.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in state.items())


def test_operations_are_those_that_torch_counts(folder, settings, toy_whisper):
    files = utterances(1, folder, None)
    samples = [soundfile.read(path, dtype="float32")[0] for path in files.values()]
    linear = {torch.ops.mkldnn._linear_pointwise: lambda x, weight, *_, **__: 2 * math.prod(x) * weight[0]}
    with FlopCounterMode(display=False, custom_mapping=linear) as counter:
        encode(toy_whisper, samples, features.LAYERS, dtype=torch.bfloat16)
    mel = sum(2 * 201 * 80 * len(audio) // 160 for audio in samples)  # which is no part of the encoder
    assert counter.get_total_flops() - mel == features.encoder_operations(toy_whisper.dims, files)


def test_frames_are_compared_one_by_one(settings):
    same, level = features.frame_cosines(**settings, dtype="float32")
    rounded, _ = features.frame_cosines(**settings, dtype="bfloat16")
    for layer in features.LAYERS:
        assert same[layer].shape == rounded[layer].shape == (50 * sum(SECONDS),)
        assert same[layer].min() > 0.99999 and 0.9 < rounded[layer].mean() < 0.99999
    assert level.shape == (50 * sum(SECONDS),) and level.min() < -10 < 0 < level.max()  # between syllables, and in them


def test_a_corpus_gives_the_utterances_nearest_to_the_lengths(tmp_path):
    for seconds in (1, 3.9, 4.2, 8, 8.1, 12.3, 14, 15, 20):
        soundfile.write(tmp_path / f"{seconds}.wav", np.zeros(round(seconds * 16000)), 16000)
    found = [path.removeprefix(f"{tmp_path}/") for path in utterances(2, tmp_path, str(tmp_path)).values()]
    assert found == ["3.9.wav", "8.wav", "12.3.wav", "15.wav", "4.2.wav", "8.1.wav", "14.wav", "20.wav"]
    with pytest.raises(RecipeError, match="9 audio files; 12 are needed"):
        utterances(3, tmp_path, str(tmp_path))


def test_ours_and_scikit_learns_units_are_the_same():
    frames, codebook = units.frames_and_codebook(200)
    kmeans = units._fitted(codebook)
    assert np.array_equal(nearest(torch.from_numpy(frames), torch.from_numpy(codebook)), kmeans.predict(frames))
    assert units.ours(4)() == units.scikit_learn(4)() == 2 * 100 * 200 * 384
