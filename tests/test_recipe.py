"""The recipe from the corpus to the results, on a dozen utterances of the shipped corpus."""

import json
import os
import subprocess

import pytest

from taste.data_dir.validate import validate_data_dir
from taste.tables import read_int_table, read_table
from tests.helpers_recipe import CORPUS, ROOT, RUN, copy_chapters, make_recipe_dir, run

SETTINGS = {
    "model.yaml": "text_token_size: 51866\nspeech_token_size: 20\nspk_embed_dim: 256\nencoder_dim: 512\n"
    "text_encoder_input_size: 8\ndim: 16\nattention_heads: 2\nlinear_units: 32\ntext_encoder_blocks: 1\n"
    "llm_blocks: 1\ndropout: 0.1\nunit_dropout: 0.1\naggregator_dim: 512\naggregator_heads: 8\naggregator_layers: 1\n",
    "train.yaml": "epochs: 2\nbatch_units: 400\nlearning_rates: {lm: 0.01, speech: 0.01}\n"
    "warmup_steps: 2\nfinal_learning_rate: 0.1\nweight_decay: 0.0\ngrad_clip: 1.0\ndtype: float32\n"
    "patience: 0\nbatches_per_update: 1\ncheckpoint_steps: 100\naverage_epochs: 2\n",
    "continued.yaml": "epochs: 3\n",
    "griffinlim.yaml": "dim: 16\ndilations: [1]\nframe_dim: 8\nframe_dilations: [1]\nmax_hours: 1\nepochs: 1\n"
    "batch_frames: 2000\nlearning_rate: 0.01\nseed: 1\n",
}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, pretrained_dir):
    """A recipe directory whose path has a space, after stages 0 to 13, and what they printed."""
    folder = make_recipe_dir(tmp_path_factory.mktemp("recipe") / "my recipe", SETTINGS)
    train = copy_chapters(CORPUS / "train", folder / "corpus/train", 2, 5)
    copy_chapters(CORPUS / "test", folder / "corpus/test", 2, 2)
    broken = next((folder / "corpus/train").rglob(f"{train[0]}.opus"))
    broken.write_bytes(broken.read_bytes()[:100])
    with open(next(broken.parent.glob("*.trans.txt")), "a") as stream:
        stream.write(f"{train[0][:-4]}9999 A TRANSCRIPT WITHOUT AUDIO\n")
    (folder / "mine.conf").write_text('train_parts="train"\ndev_parts=""\ndev_utts=2\ntest_parts="test"\n')
    options = ["--config", "mine.conf", "--corpus", "corpus", "--kmeans_K", "20", "--pretrained_dir", pretrained_dir]
    options += ["--continued_config", "conf/continued.yaml", "--train_jobs", "2", "--set_jobs", "2"]
    options += ["--score_utts", "2", "--asr_model", "tiny.en"]
    return folder, [*options, "--nj", "2"], train, run(folder, *options)


def test_all_stages_run(recipe):
    folder, _, _, result = recipe
    assert result.returncode == 0, result.stdout + result.stderr
    figures = json.loads((folder / "exp/results.json").read_text())["systems"]
    assert set(figures) == {"unigram", "copy previous unit", "text_only", "text_only_continued", "taste", "taste_rvq"}
    assert {"loss", "ppl", "top1", "top5", "top1_change", "units", "utts"} <= set(figures["taste"]["test"])
    assert figures["taste"]["test"]["utts"] == 4
    names = ("RESULTS.md", "figures/loss.png", "figures/mel.png", "taste/steps.jsonl", "taste/train.log")
    for name in (*names, "report/index.html"):
        assert (folder / "exp" / name).stat().st_size > 0
    assert "| taste " in result.stdout
    for row in ("topline", "text_only_continued", "taste", "taste_rvq"):
        assert len(read_table(folder / "exp" / row / "wav/test/wav.scp")) == 4
    assert set(figures["taste_rvq"]["test"]["tokens"]) >= {"bits_per_second", "entropy_per_second", "used"}
    assert figures["taste"]["test"]["free_running"]["words"] > 0
    scores = json.loads((folder / "exp/scores.json").read_text())["sets"]["test"]
    assert list(scores) == ["original", "topline", "text_only_continued", "taste", "taste_rvq"]
    assert all(row["wer"]["utts"] == 2 for row in scores.values()) and scores["taste_rvq"]["bits_per_second"]
    assert "## Scores of waveforms" in (folder / "exp/RESULTS.md").read_text()
    assert not list(folder.rglob("*.partial"))


def test_taste_and_what_it_is_compared_with_are_trained_alike(recipe):
    folder, _, _, _ = recipe
    records = {path.parent.name: json.loads(path.read_text()) for path in (folder / "exp").glob("*/train.json")}
    assert records["taste"]["updates"] == records["text_only_continued"]["updates"]
    assert records["taste"]["updates"] / records["text_only"]["updates"] == 3 / 2
    assert records["taste"]["init"] == records["text_only_continued"]["init"] == "exp/text_only"


def test_systems_are_compared_without_path_sh(recipe):
    folder, _, _, _ = recipe
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = ["utils/compare_systems.sh", "exp/taste", "exp/text_only_continued"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    assert "loss of taste minus text_only_continued" in result.stdout, result.stderr


def test_data_directories_hold_what_the_stages_say(recipe):
    folder, _, train, _ = recipe
    for name in ("train", "dev", "test"):
        data = folder / "data" / name
        assert validate_data_dir(data, require_feats=False) == []
        tables = [read_table(data / table) for table in ("feats_deep.scp", "utt2token", "spk_emb.scp", "utt2words")]
        units = read_int_table(data / "utt2s3")
        assert all(set(table) == set(units) for table in tables)
        seconds = {utt: float(value) for utt, value in read_table(data / "utt2dur").items()}
        assert all(abs(len(units[utt]) - 25 * seconds[utt]) <= 1 for utt in units)
    speakers = [set(read_table(folder / "data" / name / "spk2utt")) for name in ("train", "dev")]
    assert not speakers[0] & speakers[1]
    used = {utt for name in ("train", "dev") for utt in read_table(folder / "data" / name / "text")}
    assert used == set(train[1:])


def test_bad_utterances_are_named_and_counted(recipe):
    _, _, train, result = recipe
    output = result.stdout + result.stderr
    assert train[0] in output and f"{train[0][:-4]}9999" in output
    assert "left out 1 of" in output


def test_a_stage_without_its_input_says_which_stage_makes_it(recipe, tmp_path):
    folder, options, _, _ = recipe
    result = run(folder, *options, "--exp", str(tmp_path / "other"), "--stage", "8", "--stop_stage", "8")
    assert result.returncode == 1
    assert "text_only" in result.stderr and "Traceback" not in result.stderr
    (folder / "data/train/utt2s3").rename(folder / "data/train/away")
    try:
        result = run(folder, *options, "--exp", str(tmp_path / "other"), "--stage", "7", "--stop_stage", "7")
    finally:
        (folder / "data/train/away").rename(folder / "data/train/utt2s3")
    assert "utt2s3 does not exist; stage 5 makes it" in result.stderr


def test_help_lists_stages_and_options():
    result = subprocess.run([ROOT / "run.sh", "--help"], capture_output=True, text=True)
    assert result.returncode == 0
    variables = RUN.read_text().partition("help_message=")[0]
    names = [line.partition("=")[0] for line in variables.splitlines() if line and line[0].isalpha() and "=" in line]
    assert len(names) > 30
    for name in names:
        assert f"--{name}" in result.stdout, name


def test_unknown_options_are_errors():
    result = subprocess.run([RUN, "--stag", "3"], capture_output=True, text=True)
    assert result.returncode == 1 and "--stag" in result.stderr
