"""The recipe with CosyVoice's own units and speaker embeddings, on a small stand-in for CosyVoice-300M."""

import json

import pytest

from taste.tables import read_int_table, read_table
from tests.helpers_cosyvoice import SPEAKER_DIM, UNITS, write_cosyvoice_dir
from tests.helpers_recipe import CORPUS, copy_chapters, make_recipe_dir, run

for package in ("onnx", "onnxruntime", "s3tokenizer"):
    pytest.importorskip(package, reason="needs onnx and requirements-cosyvoice.txt")

SETTINGS = {
    "model.yaml": f"text_token_size: 51866\nspeech_token_size: {UNITS}\nspk_embed_dim: {SPEAKER_DIM}\n"
    "encoder_dim: 512\ntext_encoder_input_size: 8\ndim: 16\nattention_heads: 2\nlinear_units: 32\n"
    "text_encoder_blocks: 1\nllm_blocks: 2\ndropout: 0.1\nunit_dropout: 0.1\n"
    "aggregator_dim: 512\naggregator_heads: 8\naggregator_layers: 1\n",
    "train.yaml": "epochs: 1\nbatch_units: 400\nlearning_rates: {lm: 0.01, speech: 0.01}\n"
    "warmup_steps: 2\nfinal_learning_rate: 0.1\nweight_decay: 0.0\ngrad_clip: 1.0\ndtype: bfloat16\n"
    "patience: 0\nbatches_per_update: 1\ncheckpoint_steps: 100\naverage_epochs: 0\n",
}


def test_the_recipe_runs_on_a_cosyvoice_directory(tmp_path, pretrained_dir):
    folder = make_recipe_dir(tmp_path / "recipe", SETTINGS)
    copy_chapters(CORPUS / "train", folder / "corpus/train", 1, 2)
    copy_chapters(CORPUS / "test", folder / "corpus/test", 1, 2)
    model_dir = write_cosyvoice_dir(tmp_path / "my CosyVoice-300M")
    options = ["--corpus", "corpus", "--train_parts", "train", "--dev_parts", "", "--dev_utts", "1"]
    options += ["--test_parts", "test", "--pretrained_dir", pretrained_dir, "--nj", "1"]
    options += ["--units_backend", "cosyvoice", "--spk_backend", "campplus", "--cosyvoice_dir", model_dir]
    options += ["--lm_weights", model_dir / "llm.pt"]
    result = run(folder, *options, "--stop_stage", "10")
    assert result.returncode == 0, result.stdout + result.stderr
    for name in ("train", "dev", "test"):
        data = folder / "data" / name
        units = read_int_table(data / "utt2s3")
        seconds = {utt: float(value) for utt, value in read_table(data / "utt2dur").items()}
        assert all(abs(len(units[utt]) - 50 * seconds[utt]) <= 1 for utt in seconds)
        assert all(0 <= unit < UNITS for row in units.values() for unit in row)
        record = json.loads((data / "units.json").read_text())
        assert (record["backend"], record["rate"], record["K"]) == ("cosyvoice", 50, UNITS)
        record = json.loads((data / "spk_emb.json").read_text())
        assert (record["backend"], record["dim"]) == ("campplus", SPEAKER_DIM)
    record = json.loads((folder / "exp/text_only/train.json").read_text())
    assert record["init"] == str(model_dir / "llm.pt") and record["dtype"] == "bfloat16"
    figures = json.loads((folder / "exp/results.json").read_text())["systems"]
    assert figures["taste"]["test"]["utts"] == 2
