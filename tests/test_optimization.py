"""Which parts train, at which rates; what happens to updates that go wrong; when training stops."""

import json
import pickle

import numpy as np
import pytest
import torch

from taste.archives import ArchiveWriter
from taste.checkpoint import AVERAGE, BEST, load_llm, load_system, load_weights, save_llm
from taste.errors import RecipeError
from taste.evaluation.teacher_forced import evaluate, total
from taste.files import read_json, write_json
from taste.model.joint import JointModel
from taste.model.lm import CosyVoiceLM
from taste.training.loop import FAULTY_UPDATES_IN_A_ROW, train
from taste.training.optimization import learning_rate_of, make_optimizer
from tests.helpers import losses, make_data_dir, make_sets, model_config, open_sets, tiny_config

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_sets(tmp_path_factory.mktemp("optimization"), 120)


def test_the_longest_part_gives_the_learning_rate():
    rates = {"lm": 1.0, "lm.llm": 2.0}
    assert learning_rate_of("lm.llm.after_norm.weight", rates) == 2
    assert learning_rate_of("lm.llm_decoder.weight", rates) == 1  # `lm.llm` is not a part of it
    assert learning_rate_of("speech.affine.weight", rates) is None


def test_only_the_named_parts_train(data, tmp_path):
    config = tiny_config("attention", learning_rates={"lm.llm": 0.01, "lm.speech_embedding": 0.02}, epochs=1)
    torch.manual_seed(config.train.seed)
    before = JointModel(config.model).state_dict()
    result = train(config, *open_sets(data, config), tmp_path / "taste", None, "cpu")
    after = load_weights(tmp_path / "taste" / BEST, "")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all(name.startswith(("lm.llm.", "lm.speech_embedding.")) for name in changed)
    assert result["trained_parameters"] < result["parameters"]


@pytest.mark.parametrize(("rates", "message"), [({"lm.lmm": 1.0}, "begins with 'lm.lmm'"), ({"speech": 1.0}, "none")])
def test_parts_that_are_not_there_are_refused(rates, message):
    model = JointModel(model_config())
    with pytest.raises(RecipeError, match=message):
        make_optimizer(model, tiny_config(learning_rates=rates).train)


def test_accumulated_batches_are_one_large_batch(data, tmp_path):
    for name, batch_units, batches in (("large", 120, 1), ("accumulated", 60, 2)):
        config = tiny_config(epochs=1, batch_units=batch_units, batches_per_update=batches)
        train(config, *open_sets(data, config), tmp_path / name, None, "cpu")
    # utterances are grouped differently, but an epoch has about as many updates, and they learn as much
    one, other = (losses(tmp_path / name) for name in ("large", "accumulated"))
    assert abs(len(one) - len(other)) <= 2
    assert np.mean(one[-3:]) == pytest.approx(np.mean(other[-3:]), rel=0.15)


def with_nan_features(root, n_faulty):
    """Make the features of the first `n_faulty` training utterances NaN."""
    make_sets(root, 120)
    lines = (root / "train/feats_shallow.scp").read_text().splitlines()
    faulty = [line.split()[0] for line in lines[:n_faulty]]
    with ArchiveWriter(root / "train/nan.ark", root / "train/nan.scp") as writer:
        for utt in faulty:
            units = next(x for x in (root / "train/utt2s3").read_text().splitlines() if x.startswith(f"{utt} "))
            writer.write(utt, np.full((4 * (len(units.split()) - 1), 12), np.nan, dtype=np.float32))
    nan = (root / "train/nan.scp").read_text().splitlines()
    (root / "train/feats_shallow.scp").write_text("\n".join(nan + lines[n_faulty:]) + "\n")
    return faulty


def test_an_update_without_finite_loss_changes_nothing_and_is_counted(tmp_path, caplog):
    (faulty,) = with_nan_features(tmp_path, 1)
    config = tiny_config("attention", epochs=2, batch_units=60)
    result = train(config, *open_sets(tmp_path, config), tmp_path / "taste", None, "cpu")
    assert result["skipped_updates"] == 2  # one an epoch
    assert faulty in caplog.text and np.isfinite(result["best"]["dev_loss"])
    assert sum(not np.isfinite(loss) for loss in losses(tmp_path / "taste")) == 2


def test_ten_updates_in_a_row_without_finite_loss_end_the_training(tmp_path):
    with_nan_features(tmp_path, 120)
    config = tiny_config("attention", epochs=2, batch_units=30)
    with pytest.raises(RecipeError, match=f"{FAULTY_UPDATES_IN_A_ROW} updates in a row.*the utterances spk"):
        train(config, *open_sets(tmp_path, config), tmp_path / "taste", None, "cpu")
    assert len(losses(tmp_path / "taste")) == FAULTY_UPDATES_IN_A_ROW - 1


def test_an_update_whose_utterances_are_all_damaged_is_passed_over(tmp_path, caplog):
    for name in ("train", "dev"):
        make_data_dir(tmp_path / name, 12)
    table = (tmp_path / "train/feats_deep.scp").read_text().splitlines()
    utt = table[4].split()[0]
    table[4] = f"{utt} {tmp_path}/absent.ark:10"
    (tmp_path / "train/feats_deep.scp").write_text("\n".join(table) + "\n")
    config = tiny_config("attention", epochs=2, batch_units=1)  # an utterance each
    result = train(config, *open_sets(tmp_path, config), tmp_path / "taste", None, "cpu")
    assert result["updates"] == 24 and len(losses(tmp_path / "taste")) == 22
    assert utt in caplog.text


def test_training_stops_when_the_dev_loss_gets_no_better(data, tmp_path):
    config = tiny_config(epochs=12, patience=2, learning_rates={"lm": 0.3}, final_learning_rate=1.0)
    result = train(config, *open_sets(data, config), tmp_path / "text_only", None, "cpu")
    epochs = [json.loads(line)["dev_loss"] for line in (tmp_path / "text_only/epochs.jsonl").read_text().splitlines()]
    best = int(np.argmin(epochs))
    assert result["epochs"] == len(epochs) == best + 3 < 12


def test_the_average_is_that_of_the_best_epochs(data, tmp_path):
    config = tiny_config("attention", epochs=4, average_epochs=2)
    result = train(config, *open_sets(data, config), tmp_path / "taste", None, "cpu")
    epochs = [json.loads(line)["dev_loss"] for line in (tmp_path / "taste/epochs.jsonl").read_text().splitlines()]
    assert result["average"]["epochs"] == sorted(1 + int(i) for i in np.argsort(epochs)[:2])
    _, model = load_system(tmp_path / "taste", CPU, AVERAGE)
    loss = total(evaluate(model, open_sets(data, config)[1], 400, CPU).values()).summary()["loss"]
    assert loss == pytest.approx(result["average"]["dev_loss"], abs=1e-5)


def test_cosyvoices_layout_goes_out_and_comes_in(data, tmp_path):
    config = tiny_config(epochs=1)
    train(config, *open_sets(data, config), tmp_path / "text_only", None, "cpu")
    _, model = load_system(tmp_path / "text_only", CPU)
    save_llm(tmp_path / "llm.pt", model)
    upstream = CosyVoiceLM(config.model)
    upstream.load_state_dict(torch.load(tmp_path / "llm.pt", weights_only=True), strict=True)
    torch.save({**torch.load(tmp_path / "llm.pt", weights_only=True), "epoch": 3, "step": 1000}, tmp_path / "epoch3.pt")
    again = load_llm(tmp_path / "epoch3.pt")  # as upstream's own training writes it
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in again.items())
    with pytest.raises(RecipeError, match="aggregator"):
        save_llm(tmp_path / "taste.pt", JointModel(tiny_config("attention").model))


def test_training_starts_from_cosyvoices_weights_on_cosyvoices_inputs_only(data, tmp_path):
    make_sets(tmp_path, 60)
    config = tiny_config("attention", epochs=1, learning_rates={"speech": 0.01})
    torch.manual_seed(5)
    save_llm(tmp_path / "llm.pt", JointModel(tiny_config().model))
    with pytest.raises(RecipeError, match="units of CosyVoice's tokenizer"):
        train(config, *open_sets(tmp_path, config), tmp_path / "taste", tmp_path / "llm.pt", "cpu")
    for name in ("train", "dev"):
        record = read_json(tmp_path / name / "units.json", "")
        write_json(tmp_path / name / "units.json", {**record, "backend": "cosyvoice"})
    train(config, *open_sets(tmp_path, config), tmp_path / "taste", tmp_path / "llm.pt", "cpu")
    after, start = load_weights(tmp_path / "taste" / BEST, ""), load_llm(tmp_path / "llm.pt")
    assert all(torch.equal(after[name], tensor) for name, tensor in start.items())
    tokens = read_json(tmp_path / "train/tokens.json", "")
    write_json(tmp_path / "train/tokens.json", {**tokens, "token_type": "sentencepiece"})
    with pytest.raises(RecipeError, match="Whisper's text tokens"):
        train(config, *open_sets(tmp_path, config), tmp_path / "taste", tmp_path / "llm.pt", "cpu")


def test_checkpoints_of_other_sizes_cut_short_or_with_code_are_refused(data, tmp_path):
    save_llm(tmp_path / "llm.pt", JointModel(tiny_config().model))
    whole = (tmp_path / "llm.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RecipeError, match="damaged"):
        load_llm(tmp_path / "cut.pt")
    torch.save({"model": print}, tmp_path / "code.pt")
    with pytest.raises(RecipeError, match="holds code"):
        load_llm(tmp_path / "code.pt")
    (tmp_path / "old.pt").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(RecipeError, match=r"old\.pt"):
        load_llm(tmp_path / "old.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(RecipeError, match="no table of tensors"):
        load_llm(tmp_path / "list.pt")


def test_a_system_of_another_tokenizer_is_refused_as_a_start(data, tmp_path):
    config = tiny_config(epochs=1)
    train(config, *open_sets(data, config), tmp_path / "text_only", None, "cpu")
    record = read_json(tmp_path / "text_only/train.json", "")
    record["tokens"]["token_type"] = "sentencepiece"
    write_json(tmp_path / "text_only/train.json", record)
    with pytest.raises(RecipeError, match="other text tokens"):
        train(config, *open_sets(data, config), tmp_path / "again", tmp_path / "text_only", "cpu")
