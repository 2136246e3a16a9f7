import sys
from math import ceil

import numpy as np
import pytest
import soundfile
import torch
from sklearn.cluster import KMeans
from whisper.audio import log_mel_spectrogram

from taste.errors import RecipeError
from taste.files import read_json, sha256, write_json
from taste.tables import read_int_table, read_table, write_table
from taste.units.backend import load_unit_backend, write_units
from taste.units.cosyvoice import CosyvoiceUnits
from taste.units.kmeans import KMeansUnits, grouped_frames, nearest, train_kmeans
from taste.units.record import require_same_units
from taste.whisper.features import frames_of
from tests.helpers_cosyvoice import write_speech_tokenizer

SECOND = 16000
SETTINGS = {"model": "toy", "layer": "1", "K": 8, "rate": 25, "frames": 10_000, "seed": 3}


def noise(seconds, seed=0):
    return np.random.default_rng(seed).normal(scale=0.1, size=int(seconds * SECOND)).astype(np.float32)


@pytest.fixture
def data(tmp_path):
    """A data directory of six utterances of different lengths, under a path with a space."""
    folder = tmp_path / "train data"
    folder.mkdir()
    for number in range(6):
        soundfile.write(folder / f"utt{number}.wav", noise(0.5 + 0.31 * number, number), SECOND)
    write_table(folder / "wav.scp", {path.stem: str(path) for path in folder.glob("*.wav")})
    return folder


@pytest.fixture
def units_dir(data, toy_pretrained_dir, tmp_path):
    train_kmeans(data, tmp_path / "units", pretrained_dir=toy_pretrained_dir, **SETTINGS)
    return tmp_path / "units"


def test_kmeans_units_of_a_data_directory(data, units_dir, toy_pretrained_dir):
    write_units(data, load_unit_backend("kmeans", units_dir, toy_pretrained_dir, None, "cpu"))
    units = read_int_table(data / "utt2s3")
    assert sorted(units) == [f"utt{number}" for number in range(6)]
    for utt, source in read_table(data / "wav.scp").items():
        frames = frames_of(soundfile.info(source).frames)
        assert len(units[utt]) == ceil(frames / 2)  # 25 of 50 a second, a last odd frame counts
        assert all(0 <= unit < 8 for unit in units[utt])
    assert len({unit for row in units.values() for unit in row}) > 4
    record = read_json(data / "units.json", "stage 5")
    assert {name: record[name] for name in ("backend", "model", "layer", "K", "rate")} == {
        "backend": "kmeans", "model": "toy", "layer": "1", "K": 8, "rate": 25,
    }  # fmt: skip
    assert len(record["weights_sha256"]) == len(record["codebook_sha256"]) == 64


def test_units_do_not_depend_on_the_batch(units_dir, toy_pretrained_dir):
    backend = KMeansUnits(units_dir, toy_pretrained_dir, "cpu")
    batch = [noise(1.3, 1), noise(0.02, 2), noise(2.1, 3)]
    for alone, together in zip([backend.encode([samples])[0] for samples in batch], backend.encode(batch), strict=True):
        assert np.array_equal(alone, together)


def test_the_same_seed_gives_the_same_codebook(data, units_dir, toy_pretrained_dir, tmp_path):
    first = read_json(units_dir / "units.json", "stage 5")
    assert train_kmeans(data, tmp_path / "again", pretrained_dir=toy_pretrained_dir, **SETTINGS) == first
    other = train_kmeans(data, tmp_path / "other", pretrained_dir=toy_pretrained_dir, **{**SETTINGS, "seed": 4})
    assert other["codebook_sha256"] != first["codebook_sha256"]


def test_groups_of_frames_are_means_and_the_last_may_be_smaller(toy_whisper):
    samples = noise(0.5)  # 25 frames
    (all_frames,) = grouped_frames(toy_whisper, [samples], "2", 50)
    (halved,) = grouped_frames(toy_whisper, [samples], "2", 25)
    assert len(all_frames) == 25 and len(halved) == 13
    assert torch.allclose(halved[0], all_frames[:2].mean(dim=0))
    assert torch.allclose(halved[12], all_frames[24])


def test_nearest_is_what_scikit_learn_predicts():
    frames = np.random.default_rng(0).normal(size=(500, 12)).astype(np.float32)
    kmeans = KMeans(20, n_init=1, random_state=0).fit(frames)
    codebook = torch.from_numpy(kmeans.cluster_centers_.astype(np.float32))
    assert np.array_equal(nearest(torch.from_numpy(frames), codebook).numpy(), kmeans.predict(frames))


def test_bad_utterances_are_named_and_left_out(data, units_dir, toy_pretrained_dir, caplog):
    soundfile.write(data / "short.wav", noise(0.01), SECOND)
    soundfile.write(data / "slow.wav", noise(1), 8000)
    bad = {"short": str(data / "short.wav"), "slow": str(data / "slow.wav"), "gone": str(data / "gone.wav")}
    write_table(data / "wav.scp", {**read_table(data / "wav.scp"), **bad})
    write_units(data, KMeansUnits(units_dir, toy_pretrained_dir, "cpu"))
    assert len(read_table(data / "utt2s3")) == 6
    for utt, reason in {"short": "0.010 s", "slow": "8000 Hz", "gone": "does not exist"}.items():
        assert any(f"left out {utt}" in line and reason in line for line in caplog.messages)
    assert any("left out 3 of 9" in line for line in caplog.messages)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"K": 10_000}, "fewer than K = 10000"),
        ({"K": 0}, "--K 0"),
        ({"rate": 20}, "--rate 20"),
        ({"layer": "9"}, "this Whisper model has"),
        ({"model": "absent"}, "absent"),
    ],
)
def test_settings_that_do_not_fit_are_refused(data, toy_pretrained_dir, tmp_path, change, message):
    with pytest.raises(RecipeError, match=message):
        train_kmeans(data, tmp_path / "units", pretrained_dir=toy_pretrained_dir, **{**SETTINGS, **change})
    assert not (tmp_path / "units").exists()


def test_codebook_and_weights_have_to_be_those_of_the_record(units_dir, toy_pretrained_dir, tmp_path):
    record = read_json(units_dir / "units.json", "stage 5")
    write_json(units_dir / "units.json", {**record, "weights_sha256": "0" * 64})
    with pytest.raises(RecipeError, match="weights of Whisper toy"):
        KMeansUnits(units_dir, toy_pretrained_dir, "cpu")
    write_json(units_dir / "units.json", record)
    (units_dir / "codebook.safetensors").write_bytes(b"something else")
    with pytest.raises(RecipeError, match="is not the codebook"):
        KMeansUnits(units_dir, toy_pretrained_dir, "cpu")
    with pytest.raises(RecipeError, match=r"local/train_kmeans\.py\) makes it"):
        KMeansUnits(tmp_path / "absent", toy_pretrained_dir, "cpu")


def test_directories_of_different_units_are_refused_together(tmp_path):
    record = {"backend": "kmeans", "model": "tiny.en", "layer": "2", "K": 200, "rate": 25, "codebook_sha256": "a"}
    for name, change in {"a": {}, "b": {"seed": 5}, "c": {"K": 100, "rate": 50}, "d": {"codebook_sha256": "b"}}.items():
        (tmp_path / name).mkdir()
        write_json(tmp_path / name / "units.json", {**record, **change})
    assert require_same_units([tmp_path / "a", tmp_path / "b"]) == record
    with pytest.raises(RecipeError, match=r"/a and .*/c differ in K: 200 and 100;"):
        require_same_units([tmp_path / "a", tmp_path / "b", tmp_path / "c"])
    with pytest.raises(RecipeError, match="differ in codebook_sha256"):
        require_same_units([tmp_path / "a", tmp_path / "d"])
    with pytest.raises(RecipeError, match="stage 5 makes it"):
        require_same_units([tmp_path / "a", tmp_path])


def test_missing_s3tokenizer_names_the_requirements(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "s3tokenizer", None)
    with pytest.raises(RecipeError, match=r"pip install -r requirements-cosyvoice\.txt"):
        load_unit_backend("cosyvoice", tmp_path, tmp_path, tmp_path, "cpu")
    with pytest.raises(RecipeError, match="--cosyvoice_dir"):
        load_unit_backend("cosyvoice", tmp_path, tmp_path, None, "cpu")


class TestCosyvoice:
    @pytest.fixture
    def backend(self):
        """S3Tokenizer's own architecture, small and with random weights."""
        model = pytest.importorskip("s3tokenizer.model", reason="needs requirements-cosyvoice.txt")
        torch.manual_seed(0)
        config = model.ModelConfig(n_audio_state=64, n_audio_head=2, n_audio_layer=1, n_codebook_size=40)
        tokenizer = model.S3Tokenizer("speech_tokenizer_v1", config).eval()
        torch.nn.init.normal_(tokenizer.quantizer._codebook.embed)
        return CosyvoiceUnits(tokenizer, "0" * 64)

    def test_a_batch_gives_what_each_utterance_gives_alone(self, backend):
        batch = [noise(1.0, 1), noise(2.37, 2)]
        together = backend.encode(batch)
        assert [len(row) for row in together] == [50, 119]
        assert len(set(together[1])) > 3
        for samples, row in zip(batch, together, strict=True):
            assert np.array_equal(backend.encode([samples])[0], row)

    def test_units_are_those_of_the_onnx_file_as_upstream_runs_it(self, tmp_path):
        for package in ("s3tokenizer", "onnx", "onnxruntime"):
            pytest.importorskip(package, reason="needs onnx and requirements-cosyvoice.txt")
        from onnxruntime import InferenceSession

        path = tmp_path / "speech_tokenizer_v1.onnx"
        write_speech_tokenizer(path, np.random.default_rng(0))
        backend = load_unit_backend("cosyvoice", tmp_path, tmp_path, tmp_path, "cpu")
        assert backend.record["K"] == 4096
        session = InferenceSession(str(path), providers=["CPUExecutionProvider"])
        names = [each.name for each in session.get_inputs()]
        samples = [noise(1.0, 1) * np.linspace(0, 1, SECOND, dtype=np.float32), noise(0.37, 2)]
        for utterance, units in zip(samples, backend.encode(samples), strict=True):
            mel = log_mel_spectrogram(utterance, 128)[None].numpy()
            lengths = np.array([mel.shape[2]], np.int32)
            (expected,) = session.run(None, dict(zip(names, (mel, lengths), strict=True)))
            assert len(set(units)) > 1 and np.array_equal(units, expected[0])

    def test_record(self, backend):
        record = backend.record
        assert (record["backend"], record["model"], record["rate"]) == ("cosyvoice", "speech_tokenizer_v1", 50)

    def test_missing_and_damaged_weights(self, tmp_path):
        pytest.importorskip("s3tokenizer", reason="needs requirements-cosyvoice.txt")
        with pytest.raises(RecipeError, match=r"speech_tokenizer_v1\.onnx does not exist"):
            load_unit_backend("cosyvoice", tmp_path, tmp_path, tmp_path, "cpu")
        (tmp_path / "speech_tokenizer_v1.onnx").write_bytes(b"no model")
        with pytest.raises(RecipeError, match="does not hold the weights"):
            load_unit_backend("cosyvoice", tmp_path, tmp_path, tmp_path, "cpu")

    def test_the_tokenizer_of_the_25_hz_model_is_refused(self, tmp_path, monkeypatch):
        pytest.importorskip("s3tokenizer", reason="needs requirements-cosyvoice.txt")
        path = tmp_path / "speech_tokenizer_v1.onnx"
        path.write_bytes(b"another one of that name")
        monkeypatch.setattr("taste.units.cosyvoice.SHA256_25HZ", sha256(path))
        with pytest.raises(RecipeError, match="CosyVoice-300M-25Hz"):
            load_unit_backend("cosyvoice", tmp_path, tmp_path, tmp_path, "cpu")
