"""Training goes on exactly where it was killed, and gives the same numbers in one process and in several."""

import json
import multiprocessing
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch

from taste.checkpoint import AVERAGE, BEST, LAST
from taste.config import load_config, save_config
from taste.errors import RecipeError
from taste.training.distributed import Processes
from taste.training.loop import train
from taste.training.state import STATE
from tests.helpers import losses, make_sets, open_sets, tiny_config

ROOT = Path(__file__).resolve().parent.parent


def run_training(config_file, root, system):
    """Train from a process of its own."""
    torch.set_num_threads(1)
    config = load_config([config_file])
    sets = open_sets(root, config)
    train(config, *sets, root / system, None, "cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_sets(tmp_path_factory.mktemp("resuming"), 150)


@pytest.fixture(scope="module")
def config_file(data):
    config = tiny_config("attention", epochs=4, batch_units=60, checkpoint_steps=3, average_epochs=2)
    text = save_config(config).replace("dropout: 0.0", "dropout: 0.1")
    (data / "config.yaml").write_text(text)
    return data / "config.yaml"


def test_a_killed_training_ends_as_if_it_had_not_been(data, config_file):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["taste.training.loop", "tests.helpers"])

    def start(system):
        process = context.Process(target=run_training, args=(config_file, data, system))
        process.start()
        return process

    start("whole").join()
    whole = losses(data / "whole")
    steps, killed_at = data / "killed/steps.jsonl", []
    drawn = random.Random(1)
    for part in range(3):  # in the first, second and last third
        process = start("killed")
        target = int(len(whole) * (part + drawn.random()) / 3)
        while not steps.exists() or steps.read_bytes().count(b"\n") < target:
            assert process.is_alive()
            time.sleep(0.001)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        killed_at.append(steps.read_bytes().count(b"\n"))
    assert killed_at == sorted(killed_at) and killed_at[-1] < len(whole)
    assert (data / "killed" / STATE).exists()
    start("killed").join()
    assert losses(data / "killed") == whole
    assert [json.loads(line)["step"] for line in steps.read_text().splitlines()] == list(range(1, len(whole) + 1))
    for name in (BEST, LAST, AVERAGE, "epochs.jsonl"):
        assert (data / "killed" / name).read_bytes() == (data / "whole" / name).read_bytes()
    assert not (data / "killed" / STATE).exists() and not list((data / "killed").glob("epoch[0-9]*"))


def test_a_training_killed_when_all_but_its_record_is_written_can_end(data, config_file, monkeypatch):
    config = load_config([config_file], ["epochs=2"])
    sets = open_sets(data, config)
    whole = train(config, *sets, data / "whole of two", None, "cpu")
    monkeypatch.setattr("taste.training.loop.write_json", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(config, *sets, data / "last", None, "cpu")
    monkeypatch.undo()
    assert train(config, *sets, data / "last", None, "cpu")["average"] == whole["average"]
    assert (data / "last" / AVERAGE).read_bytes() == (data / "whole of two" / AVERAGE).read_bytes()


def test_an_unfinished_training_with_other_settings_is_not_overwritten(data, config_file, monkeypatch):
    config = load_config([config_file])
    sets = open_sets(data, config)
    monkeypatch.setattr("taste.training.loop.end_epoch", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(config, *sets, data / "other", None, "cpu")
    other = load_config([config_file], ["warmup_steps=7", "learning_rates={lm: 0.5}"])
    with pytest.raises(RecipeError, match=r"learning_rates .*0\.02.* -> .*0\.5.*warmup_steps 2 -> 7"):
        train(other, *sets, data / "other", None, "cpu")
    (data / "other" / STATE).write_bytes((data / "other" / STATE).read_bytes()[:5000])
    with pytest.raises(RecipeError, match=r"state\.pt is damaged"):
        train(config, *sets, data / "other", None, "cpu")


def interrupt(*_):
    raise KeyboardInterrupt


def test_a_full_disk_leaves_the_state_before_whole(data, config_file, monkeypatch):
    config = load_config([config_file])
    sets = open_sets(data, config)
    save, saved = torch.save, []

    def save_until_full(state, path):
        if len(saved) == 2:
            Path(path).write_bytes(b"half")
            raise RuntimeError("PytorchStreamWriter failed writing file: No space left on device")
        save(state, path)
        saved.append(state["progress"]["step"])

    monkeypatch.setattr(torch, "save", save_until_full)
    with pytest.raises(RecipeError, match="is the disk full"):
        train(config, *sets, data / "full", None, "cpu")
    state = torch.load(data / "full" / STATE, weights_only=True)
    assert state["progress"]["step"] == saved[-1] > 0
    monkeypatch.undo()
    train(config, *sets, data / "full", None, "cpu")
    assert (data / "full" / BEST).exists() and not list((data / "full").glob(".*partial"))


@pytest.mark.parametrize(("nodes", "processes_a_node"), [(1, 2), (2, 1)])
def test_two_processes_give_the_losses_of_one(data, tmp_path, nodes, processes_a_node):
    """The last update of each epoch has one batch only, which leaves one of two processes without."""
    config = tiny_config("attention", epochs=2, batch_units=70, batches_per_update=2, average_epochs=1)
    sets = open_sets(data, config)
    assert all(len(sets[0].batches(70, 1, epoch)) % 2 for epoch in (1, 2))
    train(config, *sets, tmp_path / "one", None, "cpu")
    for name in ("local", "utils"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "model.yaml").write_text(save_config(config).replace("aggregator: attention\n", ""))
    command = ["local/train.sh", "--num_processes", str(processes_a_node), "--num_nodes", str(nodes)]
    command += [
        "--model_config",
        "model.yaml",
        "--train_config",
        "model.yaml",
        data / "train",
        data / "dev",
        "exp/taste_attention",
    ]
    environment = {**os.environ, "TASTE_ROOT": str(ROOT), "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "best dev loss" in result.stdout
    assert losses(tmp_path / "exp/taste_attention") == pytest.approx(losses(tmp_path / "one"), abs=1e-4)
    # not the weights: where a gradient is zero, as that of a key's bias, Adam makes steps of rounding errors
    dev = [
        [json.loads(line)["dev_loss"] for line in (folder / "epochs.jsonl").read_text().splitlines()]
        for folder in (tmp_path / "one", tmp_path / "exp/taste_attention")
    ]
    assert dev[1] == pytest.approx(dev[0], abs=1e-4)
    assert json.loads((tmp_path / "exp/taste_attention/train.json").read_text())["processes"] == 2


def test_fewer_batches_than_processes_are_refused(data, tmp_path, monkeypatch):
    config = tiny_config(batches_per_update=1)
    sets = open_sets(data, config)
    from taste.training import loop

    with pytest.raises(RecipeError, match="less than one for each of 2"):
        loop._train(config, *sets, tmp_path, None, None, Processes(0, 2, torch.device("cpu")))


def test_shares_are_even_and_complete():
    items = list(range(7))
    shares = [Processes(rank, 3, torch.device("cpu")).share(items) for rank in range(3)]
    assert sorted(item for share in shares for item in share) == items and {len(share) for share in shares} == {2, 3}
