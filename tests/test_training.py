"""Training learns what can be learned, the same way each time, and leaves what stage 10 reads."""

import json
import shutil

import numpy as np
import pytest
import torch

from taste.checkpoint import BEST, load_system
from taste.config import load_config
from taste.dataset import UnitDataset
from taste.errors import RecipeError
from taste.evaluation.results import collect_results, compare, evaluate_system, load_scores
from taste.evaluation.seeds import seed_tables
from taste.evaluation.tables import write_report
from taste.evaluation.teacher_forced import Score, UnitCounts, evaluate, total
from taste.files import write_json
from taste.model.sampling import Sampling
from taste.taste_tokens import check_record, tokenize, write_tokens
from taste.training.loop import train
from taste.training.optimization import learning_rate_factor
from tests.helpers import UNITS, evaluate_systems, losses, make_data_dir, open_sets, tiny_config

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """A text-only system and a TASTE system started from it, on data whose units only the features tell."""
    root = tmp_path_factory.mktemp("experiment")
    for seed, (name, n_utts) in enumerate({"train": 300, "dev": 30, "test": 40}.items()):
        make_data_dir(root / "data" / name, n_utts, seed)
    for system, config, init in (
        ("text_only", tiny_config(), None),
        ("text_only_continued", tiny_config(epochs=12), "text_only"),
        ("taste", tiny_config("attention", epochs=12), "text_only"),
        ("taste_rvq", tiny_config("attention", {"quantizer": "rvq", "codebook_size": 16}, epochs=4), "taste"),
    ):
        sets = open_sets(root / "data", config)
        train(config, *sets, root / "exp" / system, root / "exp" / init if init else None, "cpu")
    return root


@pytest.fixture(scope="module")
def results(experiment):
    """Of each system on the test set."""
    systems = ["text_only", "text_only_continued", "taste", "taste_rvq"]
    return evaluate_systems(experiment / "exp", systems, experiment / "data")["systems"]


def test_every_step_is_logged(experiment):
    steps = [json.loads(line) for line in (experiment / "exp/taste/steps.jsonl").read_text().splitlines()]
    result = json.loads((experiment / "exp/taste/train.json").read_text())
    assert [step["step"] for step in steps] == list(range(1, result["updates"] + 1))
    assert steps[-1]["loss"] < steps[0]["loss"]
    assert len(steps[0]["predicted"]) == len(steps[0]["true"])
    assert {"top1", "learning_rate", "seconds", "utt"} <= set(steps[0])
    assert list((experiment / "exp/taste/tensorboard").iterdir())


def test_the_best_dev_loss_is_what_is_kept(experiment):
    system = experiment / "exp/taste"
    config, model = load_system(system, CPU)
    dev = UnitDataset(experiment / "data/dev", config.model)
    loss = total(evaluate(model, dev, 100, CPU).values()).summary()["loss"]
    epochs = [json.loads(line)["dev_loss"] for line in (system / "epochs.jsonl").read_text().splitlines()]
    assert loss == pytest.approx(min(epochs), abs=1e-5)


def test_results_show_that_speech_tells_what_text_does_not(experiment, results):
    exp = experiment / "exp"
    systems = {"text_only", "text_only_continued", "taste", "taste_rvq"}
    assert set(results) == {"unigram", "copy previous unit", *systems}
    assert results["taste"]["test"]["loss"] < 0.85 * results["text_only_continued"]["test"]["loss"]
    assert results["copy previous unit"]["test"]["top1_change"] == 0
    assert len({figures["test"]["units"] for figures in results.values()}) == 1
    report = write_report(exp).read_text()
    assert "| taste " in report and "copy previous unit" in report and "AdamW" in report and "K 12" in report
    assert (exp / "figures/loss.png").stat().st_size > 1000
    scores = [load_scores(exp / name / "eval/test.jsonl") for name in ("taste", "text_only_continued")]
    interval = compare(*scores)
    assert interval["low"] < interval["difference"] < interval["high"] < 0
    assert compare(scores[0], scores[0])["difference"] == 0


@pytest.mark.usefixtures("results")
def test_tokens_keep_what_speech_tells_and_are_enough_by_themselves(experiment, tmp_path):
    exp, data = experiment / "exp", experiment / "data"
    (tmp_path / "data").mkdir()
    (tmp_path / "data/test").symlink_to(data / "test")
    config, model = load_system(exp / "taste_rvq", CPU)
    from_speech = UnitDataset(data / "test", config.model)
    tokens = tokenize(model, from_speech, 100, CPU)
    write_tokens(tmp_path, tokens, exp / "taste_rvq", model.speech.quantizer.sizes)
    check_record(tmp_path, exp / "taste_rvq")
    with pytest.raises(RecipeError, match="tokens of another system"):
        check_record(tmp_path, exp / "taste")
    from_tokens = UnitDataset(data / "test", config.model, tmp_path / "utt2taste")
    assert not from_tokens.layers
    expected, found = (evaluate(model, dataset, 100, CPU) for dataset in (from_speech, from_tokens))
    assert {utt: score.nll for utt, score in found.items()} == pytest.approx(
        {utt: score.nll for utt, score in expected.items()}, rel=1e-4
    )
    scores = {
        name: load_scores(exp / name / "eval/test.jsonl") for name in ("text_only_continued", "taste", "taste_rvq")
    }
    gain = {name: compare(scores[name], scores["text_only_continued"])["difference"] for name in scores}
    assert gain["taste_rvq"] < 0.5 * gain["taste"]


def test_results_can_be_had_from_tokens_alone(experiment, tmp_path):
    """As on a machine that has the tokens, text, speakers and units, but neither features nor Whisper."""
    exp, data = tmp_path / "exp", tmp_path / "data"
    shutil.copytree(experiment / "exp/taste_rvq", exp / "taste_rvq")
    shutil.copytree(experiment / "data", data)
    sets = data / "train", [data / "test"]
    expected = evaluate_system(exp / "taste_rvq", *sets, CPU, Sampling(), 1)["sets"]["test"]
    for path in [*(data / "test").glob("feats*"), data / "test/shallow.ark", data / "test/deep.ark"]:
        path.unlink()
    found = evaluate_system(exp / "taste_rvq", *sets, CPU, Sampling(), 1, from_tokens=True)["sets"]["test"]
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-4)
    assert found["tokens"] == expected["tokens"]


def test_tokens_of_another_length_are_named_and_left_out(experiment, tmp_path, caplog):
    config, model = load_system(experiment / "exp/taste_rvq", CPU)
    dataset = UnitDataset(experiment / "data/test", config.model)
    tokens = tokenize(model, dataset, 100, CPU)
    utt = min(tokens)
    write_tokens(tmp_path, {**tokens, utt: tokens[utt][:-1]}, experiment / "exp/taste_rvq", [16, 16])
    found = evaluate(model, UnitDataset(experiment / "data/test", config.model, tmp_path / "utt2taste"), 100, CPU)
    assert set(found) == set(tokens) - {utt}
    assert utt in caplog.text and "write the file again" in caplog.text


def test_other_units_than_those_trained_on_are_refused(experiment, tmp_path):
    make_data_dir(tmp_path / "test", 5)
    write_json(tmp_path / "test/units.json", {"backend": "kmeans", "model": "base", "layer": "2", "K": 12, "rate": 25})
    with pytest.raises(RecipeError, match=r"model.*base"):
        evaluate_system(experiment / "exp/taste", tmp_path / "test", [tmp_path / "test"], CPU, Sampling(), 1)


def test_scores_by_other_sampling_are_not_put_beside_each_other(experiment):
    exp, data = experiment / "exp", experiment / "data"
    sets = data / "train", [data / "test"]
    evaluate_system(exp / "text_only", *sets, CPU, Sampling(), 1)
    evaluate_system(exp / "taste", *sets, CPU, Sampling(), 2)
    with pytest.raises(RecipeError, match="taste has been scored on other units or sets, or by other sampling"):
        collect_results(exp, ["text_only", "taste"], *sets)


def test_same_command_same_numbers(experiment, tmp_path):
    config = tiny_config("attention", epochs=1)
    sets = open_sets(experiment / "data", config)
    for name in ("a", "b"):
        train(config, *sets, tmp_path / name, experiment / "exp/text_only", "cpu")
    assert losses(tmp_path / "a") == losses(tmp_path / "b")
    assert (tmp_path / "a" / BEST).read_bytes() == (tmp_path / "b" / BEST).read_bytes()


def test_a_system_of_other_sizes_is_refused_as_a_start(experiment, tmp_path):
    (tmp_path / "other.yaml").write_text((experiment / "exp/text_only/config.yaml").read_text())
    config = load_config([tmp_path / "other.yaml"], ["linear_units=64"])
    sets = open_sets(experiment / "data", config)
    with pytest.raises(RecipeError, match=r"feed_forward\.w_1\.bias.*\[32\].*\[64\]"):
        train(config, *sets, tmp_path / "system", experiment / "exp/text_only", "cpu")


def test_learning_rate_rises_then_falls():
    settings = tiny_config(warmup_steps=10, final_learning_rate=0.1).train
    factors = [learning_rate_factor(settings, step, 100) for step in (0, 9, 10, 20, 80, 100, 200)]
    assert factors[0] == pytest.approx(0.1) and factors[1] == factors[2] == 1
    assert 0.1 < factors[4] < factors[3] < 1 and factors[5] == factors[6] == pytest.approx(0.1)


def test_baselines_by_hand(experiment, tmp_path):
    make_data_dir(tmp_path, 3)
    (tmp_path / "utt2s3").write_text("a 0 0 1\nb 0 2\n")
    (tmp_path / "utt2token").write_text("a 1\nb 1\n")
    spk = next(iter((tmp_path / "spk_emb.scp").read_text().splitlines())).partition(" ")[2]
    (tmp_path / "spk_emb.scp").write_text(f"a {spk}\nb {spk}\n")
    dataset = UnitDataset(tmp_path, tiny_config().model)
    counts = UnitCounts(dataset, UNITS)
    p = np.ones(UNITS + 1)
    p[[0, 1, 2, UNITS]] += [3, 1, 1, 2]
    p /= p.sum()
    unigram = total(counts.unigram(dataset).values())
    assert unigram.nll == pytest.approx(-3 * np.log(p[0]) - np.log(p[1]) - np.log(p[2]) - 2 * np.log(p[UNITS]))
    assert (unigram.top1, unigram.units, unigram.ends, unigram.changes, unigram.change_top1) == (3, 5, 2, 2, 0)
    copied = total(counts.copy_previous(dataset).values())
    r = 1 / 3  # one of the three pairs is a repetition
    expected = 2 * np.log(p[0]) + np.log(r + (1 - r) * p[0])
    expected += np.log((1 - r) * p[1]) + np.log((1 - r) * p[2]) + 2 * np.log((1 - r) * p[UNITS])
    assert copied.nll == pytest.approx(-expected)
    assert copied.top1 == 3  # two first units are the most common one, and one repetition


def test_summary_counts_ends_in_the_loss_but_not_in_the_accuracy():
    summary = Score(nll=6.0, units=2, ends=1, top1=1, top5=2, change_top1=1, changes=2, end_top1=1).summary()
    assert summary["loss"] == 2 and summary["top1"] == 0.5 and summary["acc"] == pytest.approx(2 / 3)


@pytest.mark.usefixtures("results")
def test_seeds_side_by_side(experiment, tmp_path):
    shutil.copytree(experiment / "exp", tmp_path / "other", dirs_exist_ok=True)
    config = tmp_path / "other/text_only/config.yaml"
    with pytest.raises(RecipeError, match="more than once"):
        seed_tables([experiment / "exp", tmp_path / "other"], "text_only_continued")
    config.write_text(config.read_text().replace("seed: 1", "seed: 2"))
    other = json.loads((tmp_path / "other/results.json").read_text())
    other["systems"]["taste"]["test"]["loss"] += 0.2
    (tmp_path / "other/results.json").write_text(json.dumps(other))
    tables = seed_tables([experiment / "exp", tmp_path / "other"], "text_only_continued")
    assert "seeds 1, 2" in tables and "± 0.1414" in tables
    names = ("taste", "text_only_continued")
    difference = compare(*(load_scores(experiment / "exp" / name / "eval/test.jsonl") for name in names))
    assert tables.count(f"{difference['difference']:+.4f}") == 2
