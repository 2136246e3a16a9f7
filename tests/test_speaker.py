import importlib.util

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save_file

from taste.archives import read_array
from taste.errors import RecipeError, UtteranceError
from taste.files import read_json
from taste.speaker.encoders import GE2E, CampplusEncoder, ResemblyzerEncoder, embed_data_dir, load_speaker_encoder
from taste.tables import read_table, write_table
from tests.helpers_cosyvoice import write_campplus

SECOND = 16000


def noise(seconds, seed=0):
    return np.random.default_rng(seed).normal(scale=0.1, size=int(seconds * SECOND)).astype(np.float32)


@pytest.fixture
def resemblyzer(tmp_path):
    """The backend with random weights in place of the fetched ones."""
    torch.manual_seed(0)
    save_file(GE2E().state_dict(), tmp_path / ResemblyzerEncoder.FILE, {"source_sha256": "0" * 64})
    return load_speaker_encoder("resemblyzer", tmp_path, None)


@pytest.mark.parametrize("seconds", [0.02, 0.5, 1.6, 3.1, 12.0])
def test_embeddings_have_length_one_whatever_the_duration(resemblyzer, seconds):
    embedding = resemblyzer.embed(noise(seconds))
    assert embedding.shape == (resemblyzer.record["dim"],) and embedding.dtype == np.float32
    assert np.linalg.norm(embedding) == pytest.approx(1.0, abs=1e-5)


def test_volume_of_quiet_speech_does_not_matter(resemblyzer):
    samples = 0.1 * noise(2)
    assert np.allclose(resemblyzer.embed(samples), resemblyzer.embed(0.5 * samples), atol=1e-5)


def test_windows_are_those_of_resemblyzer(resemblyzer):
    # 1.6 s windows every 0.77 s; the last is dropped where less than 1.2 s of it is speech
    assert resemblyzer._window_starts(SECOND) == [0]
    assert resemblyzer._window_starts(2 * SECOND) == [0, 77]
    assert resemblyzer._window_starts(int(1.9 * SECOND)) == [0]
    assert resemblyzer._window_starts(4 * SECOND) == [0, 77, 154, 231]


def test_silence_has_no_speaker(resemblyzer):
    with pytest.raises(UtteranceError, match="silent"):
        resemblyzer.embed(np.zeros(SECOND, np.float32))


def test_data_directory_gets_embeddings_and_their_record(resemblyzer, tmp_path, caplog):
    soundfile.write(tmp_path / "good.wav", noise(1), SECOND)
    soundfile.write(tmp_path / "silent.wav", 0 * noise(1), SECOND)
    soundfile.write(tmp_path / "stereo.wav", np.stack([noise(1), noise(1)], 1), SECOND)
    utts = ("good", "silent", "stereo", "gone")
    write_table(tmp_path / "wav.scp", {utt: str(tmp_path / f"{utt}.wav") for utt in utts})
    embed_data_dir(tmp_path, tmp_path / "ark dir" / "spk_emb.ark", resemblyzer)
    embeddings = read_table(tmp_path / "spk_emb.scp")
    assert list(embeddings) == ["good"]
    expected = resemblyzer.embed(soundfile.read(tmp_path / "good.wav", dtype="float32")[0])
    assert np.array_equal(read_array(embeddings["good"]), expected)
    assert read_json(tmp_path / "spk_emb.json", "stage 6") == resemblyzer.record
    assert "left out 3 of 4" in caplog.text


def test_damaged_weights_and_unknown_backends_are_refused(tmp_path):
    (tmp_path / ResemblyzerEncoder.FILE).write_bytes(b"not safetensors")
    with pytest.raises(RecipeError, match="damaged"):
        load_speaker_encoder("resemblyzer", tmp_path, None)
    with pytest.raises(RecipeError, match="no speaker backend"):
        load_speaker_encoder("xvector", tmp_path, None)


def test_campplus_needs_the_directory_of_cosyvoice(tmp_path):
    with pytest.raises(RecipeError, match="--cosyvoice_dir"):
        load_speaker_encoder("campplus", tmp_path, None)


@pytest.mark.skipif(not importlib.util.find_spec("onnx"), reason="needs onnx")
class TestCampplus:
    @pytest.fixture
    def encoder(self, tmp_path):
        """A stub of campplus.onnx: random sums over the bins' mean sizes, so a larger volume does not go unnoticed."""
        write_campplus(tmp_path / "campplus.onnx", np.random.default_rng(0))
        return load_speaker_encoder("campplus", tmp_path, tmp_path)

    def test_record_and_shape(self, encoder):
        assert encoder.record["dim"] == 192 and len(encoder.record["sha256"]) == 64
        assert encoder.embed(noise(1)).shape == (192,)

    def test_features_have_no_mean_so_the_volume_does_not_matter(self, encoder):
        assert np.allclose(encoder.embed(noise(1)), encoder.embed(0.5 * noise(1)), atol=1e-2)

    def test_too_short(self, encoder):
        with pytest.raises(UtteranceError, match="too short"):
            encoder.embed(noise(0.01))

    def test_damaged_model(self, tmp_path):
        (tmp_path / "campplus.onnx").write_bytes(b"no model")
        with pytest.raises(RecipeError, match="cannot be loaded as an ONNX model"):
            CampplusEncoder(tmp_path / "campplus.onnx")
        with pytest.raises(RecipeError, match="does not exist"):
            CampplusEncoder(tmp_path / "absent.onnx")
