"""Fixtures that several tests share."""

import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from whisper.model import ModelDimensions, Whisper

from taste.model.lm import CosyVoiceLM
from taste.whisper.weights import load_whisper
from tests.helpers import model_config
from tests.helpers_data_dir import make_data_dir
from tests.helpers_recipe import prepare_small_recipe

GOLDEN = Path(os.environ.get("COSYVOICE_GOLDEN", Path(__file__).parent / "data" / "cosyvoice_lm_tiny.safetensors"))


@pytest.fixture(scope="session")
def golden():
    """A small LM with the weights that upstream's had, and upstream's inputs and outputs."""
    with safe_open(GOLDEN, "pt") as stream:
        sizes = {key: int(value) for key, value in stream.metadata().items()}
        tensors = {key: stream.get_tensor(key) for key in stream.keys()}  # noqa: SIM118
    model = CosyVoiceLM(model_config(**sizes)).eval()
    prefix = "state."
    model.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    return model, tensors


@pytest.fixture(scope="session")
def pretrained_dir():
    """Where the recipe keeps pretrained models: what a test fetches is there for the recipe, and the reverse."""
    return Path(__file__).parents[1] / "pretrained"


@pytest.fixture(scope="session")
def small_recipe(pretrained_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipe") / "small recipe"
    prepare_small_recipe(folder, pretrained_dir)
    return folder


@pytest.fixture
def prepared_recipe(small_recipe, tmp_path):
    """A recipe directory of its own on five utterances, after the stages before the features."""
    return shutil.copytree(small_recipe, tmp_path / "my recipe", symlinks=True)


@pytest.fixture(scope="session")
def tiny_en(pretrained_dir):
    return load_whisper("tiny.en", pretrained_dir)


@pytest.fixture(scope="session")
def toy_whisper():
    """Whisper with 2 layers of 16 dimensions and random weights, float16 values as openai-whisper stores them."""
    dims = ModelDimensions(
        n_mels=80, n_audio_ctx=1500, n_audio_state=16, n_audio_head=2, n_audio_layer=2,
        n_vocab=60, n_text_ctx=448, n_text_state=16, n_text_head=2, n_text_layer=2,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Whisper(dims)
        torch.nn.init.normal_(model.decoder.positional_embedding)
    return model.half().float().eval().requires_grad_(False)


@pytest.fixture(scope="session")
def toy_checkpoint(toy_whisper, tmp_path_factory):
    """The toy in openai-whisper's file format."""
    path = tmp_path_factory.mktemp("toy") / "toy.pt"
    state = {name: tensor.half() for name, tensor in toy_whisper.state_dict().items()}
    torch.save({"dims": vars(toy_whisper.dims), "model_state_dict": state}, path)
    return path


@pytest.fixture(scope="session")
def toy_pretrained_dir(toy_checkpoint, tmp_path_factory):
    """A `--pretrained_dir` that has the toy under the name `toy`."""
    path = tmp_path_factory.mktemp("pretrained")
    load_whisper("toy", path, str(toy_checkpoint))
    return path


@pytest.fixture
def data_dir(tmp_path):
    return make_data_dir(tmp_path / "data dir" / "train")


@pytest.fixture
def sox(tmp_path, monkeypatch):
    """A sox that is on the PATH, which is all that making a directory of another speed asks of it."""
    program = tmp_path / "bin" / "sox"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
