import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from taste.archives import ArchiveWriter, read_array
from taste.cosyvoice.files import read_cosyvoice_files, write_cosyvoice_files
from taste.errors import RecipeError
from taste.files import read_json, sha256, write_json
from taste.tables import read_int_table, read_table, write_table
from taste.units.cosyvoice import units_record

ROOT = Path(__file__).resolve().parent.parent
DIM = 192


@pytest.fixture
def data(tmp_path):
    """A data directory of three utterances of two speakers, with CosyVoice's units and embeddings."""
    folder = tmp_path / "my data"
    folder.mkdir()
    write_table(folder / "utt2spk", {"a-1": "a", "a-2": "a", "b-1": "b"})
    write_table(folder / "utt2s3", {"a-1": "5 4095 0", "a-2": "7", "b-1": "1 2"})
    write_json(folder / "units.json", units_record("0" * 64))
    write_json(folder / "spk_emb.json", {"backend": "campplus", "dim": DIM, "sha256": "0" * 64})
    random = np.random.default_rng(0)
    with ArchiveWriter(folder / "spk_emb.ark", folder / "spk_emb.scp") as archive:
        for utt in ("a-1", "a-2", "b-1"):
            archive.write(utt, random.normal(size=DIM).astype(np.float32))
    return folder


@pytest.fixture
def upstream(tmp_path):
    """Files as CosyVoice's scripts leave them: in the order in which threads were ready, [] for more than 30 s."""
    folder = tmp_path / "upstream"
    folder.mkdir()
    random = np.random.default_rng(1)
    tokens = {"b-1": np.array([[3, 9]]), "a-2": np.array([[4095]]), "a-1": np.array([[0, 1, 2]])}
    utt2embedding = {utt: random.normal(size=(1, DIM)).astype(np.float32).flatten().tolist() for utt in tokens}
    utt2speech_token = {utt: array.flatten().tolist() for utt, array in tokens.items()}
    torch.save({**utt2speech_token, "long-1": []}, folder / "utt2speech_token.pt")
    torch.save({**utt2embedding, "long-1": [0.5] * DIM}, folder / "utt2embedding.pt")
    return folder


def load(path):
    return torch.load(path, weights_only=True)


def test_files_are_what_upstreams_scripts_write(data):
    assert write_cosyvoice_files(data, data) == 3
    assert load(data / "utt2speech_token.pt") == {"a-1": [5, 4095, 0], "a-2": [7], "b-1": [1, 2]}
    embeddings, speakers = load(data / "utt2embedding.pt"), load(data / "spk2embedding.pt")
    assert all(type(number) is float for row in embeddings.values() for number in row)
    assert embeddings["b-1"] == read_array(read_table(data / "spk_emb.scp")["b-1"]).tolist() == speakers["b"]
    assert list(speakers) == ["a", "b"] and len(speakers["a"]) == DIM
    assert np.allclose(speakers["a"], np.mean([embeddings["a-1"], embeddings["a-2"]], axis=0), atol=1e-6)


def test_round_trip_keeps_every_number(data, tmp_path):
    write_cosyvoice_files(data, tmp_path / "there")
    assert read_cosyvoice_files(tmp_path / "there", tmp_path / "back", tmp_path / "dump/spk_emb.ark") == 3
    assert (tmp_path / "back/utt2s3").read_bytes() == (data / "utt2s3").read_bytes()
    before, after = (read_table(folder / "spk_emb.scp") for folder in (data, tmp_path / "back"))
    assert list(before) == list(after)
    assert all(np.array_equal(read_array(before[utt]), read_array(after[utt])) for utt in before)


def test_upstreams_files_are_read(upstream, tmp_path, caplog):
    target = tmp_path / "data"
    assert read_cosyvoice_files(upstream, target, tmp_path / "spk_emb.ark") == 3
    assert read_int_table(target / "utt2s3") == {"a-1": [0, 1, 2], "a-2": [4095], "b-1": [3, 9]}
    assert "left out long-1" in caplog.text and "left out 1 of 4" in caplog.text
    assert read_json(target / "units.json", "") == units_record(None)
    assert read_json(target / "spk_emb.json", "") == {"backend": "campplus", "dim": DIM, "sha256": None}


def test_only_the_utterances_of_the_data_directory_are_taken(upstream, data, tmp_path):
    write_table(data / "utt2spk", {"a-1": "a", "long-1": "long", "new-1": "new"})
    assert read_cosyvoice_files(upstream, data, tmp_path / "spk_emb.ark") == 1
    assert list(read_table(data / "utt2s3")) == list(read_table(data / "spk_emb.scp")) == ["a-1"]


def test_the_models_that_made_the_files_are_recorded(upstream, tmp_path):
    for name in ("speech_tokenizer_v1", "campplus"):
        (tmp_path / f"{name}.onnx").write_text(name)
    read_cosyvoice_files(upstream, tmp_path / "data", tmp_path / "spk_emb.ark", tmp_path)
    tokenizer, campplus = (sha256(tmp_path / f"{name}.onnx") for name in ("speech_tokenizer_v1", "campplus"))
    assert read_json(tmp_path / "data/units.json", "")["weights_sha256"] == tokenizer
    assert read_json(tmp_path / "data/spk_emb.json", "")["sha256"] == campplus


def test_utterances_without_units_or_embedding_are_left_out(data, caplog):
    write_table(data / "utt2spk", {"a-1": "a", "b-1": "b", "c-1": "c"})
    write_table(data / "utt2s3", {"a-1": "5", "c-1": "3"})
    assert write_cosyvoice_files(data, data) == 1
    assert "left out b-1: is missing from utt2s3" in caplog.text
    assert "left out c-1: is missing from spk_emb.scp" in caplog.text
    assert list(load(data / "spk2embedding.pt")) == ["a"]


def test_units_of_other_making_are_written_with_a_warning(data, caplog):
    write_json(data / "units.json", {"backend": "kmeans", "K": 200, "rate": 25})
    write_cosyvoice_files(data, data)
    assert "made by kmeans" in caplog.text and "CosyVoice-300M cannot use them" in caplog.text


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("malicious",)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("utt2speech_token.pt", {"a-1": [0, 6000]}, "a-1: unit 6000 lies outside 0 to 4095"),
        ("utt2speech_token.pt", {"a-1": [-1]}, "unit -1 lies outside"),
        ("utt2speech_token.pt", {"a-1": [0.5]}, "a-1: it should be a list of ints"),
        ("utt2speech_token.pt", {"a-1": torch.zeros(3)}, "a-1: it should be a list of ints"),
        ("utt2speech_token.pt", {"a 1\nb": [1]}, "cannot be the name of an utterance"),
        ("utt2speech_token.pt", [1, 2], "holds no utterances"),
        ("utt2speech_token.pt", {"a-1": Malicious()}, "holds more than lists of numbers"),
        ("utt2embedding.pt", {"a-1": [0.5] * DIM, "a-2": [0.5]}, "a-2 has 1 numbers, others have 192"),
        ("utt2embedding.pt", {"a-1": [float("nan")] * DIM}, "a-1: NaN or infinite"),
    ],
)
def test_files_that_hold_something_else_are_refused(upstream, tmp_path, monkeypatch, name, content, message):
    monkeypatch.chdir(tmp_path)
    torch.save(content, upstream / name)
    with pytest.raises(RecipeError, match=message):
        read_cosyvoice_files(upstream, tmp_path / "data", tmp_path / "spk_emb.ark")
    assert not (tmp_path / "malicious").exists() and not (tmp_path / "data").exists()


def test_damaged_and_missing_files_are_refused(upstream, tmp_path):
    path = upstream / "utt2embedding.pt"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(RecipeError, match=r"utt2embedding\.pt is damaged"):
        read_cosyvoice_files(upstream, tmp_path / "data", tmp_path / "spk_emb.ark")
    path.unlink()
    with pytest.raises(RecipeError, match=r"utt2embedding\.pt does not exist"):
        read_cosyvoice_files(upstream, tmp_path / "data", tmp_path / "spk_emb.ark")


def test_units_of_25_hz_are_refused_where_durations_are_known(upstream, data, tmp_path):
    write_table(data / "utt2dur", {"a-1": "0.12", "a-2": "0.04", "b-1": "0.08"})
    with pytest.raises(RecipeError, match=r"25\.0 units a second"):
        read_cosyvoice_files(upstream, data, tmp_path / "spk_emb.ark")


def test_tools(data, tmp_path):
    def tool(name, *arguments):
        return subprocess.run([ROOT / "utils" / name, *arguments], capture_output=True, text=True)

    assert "3 utterances" in tool("data_dir_to_cosyvoice.sh", data).stdout
    (data / "utt2s3").unlink()
    shutil.copy(data / "spk_emb.json", tmp_path / "campplus.onnx")
    shutil.copy(data / "spk_emb.json", tmp_path / "speech_tokenizer_v1.onnx")
    result = tool("cosyvoice_to_data_dir.sh", "--cosyvoice-dir", tmp_path, data, data, tmp_path / "ark dir")
    assert "3 utterances" in result.stdout, result.stderr
    assert read_int_table(data / "utt2s3")["a-1"] == [5, 4095, 0]
    result = tool("cosyvoice_to_data_dir.sh", data)
    assert result.returncode == 1 and "Usage: utils/cosyvoice_to_data_dir.sh" in result.stdout
