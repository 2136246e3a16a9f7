"""What speed must not cost: the loss of a trained system on features made as the recipe makes them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from taste.benchmark.features import frame_cosines
from taste.checkpoint import load_system
from taste.dataset import UnitDataset
from taste.evaluation.teacher_forced import evaluate, total
from taste.files import read_json, require
from taste.text_and_features import FeatureOptions, write_text_and_features

BATCH_UNITS = 800


def frames_apart(
    model: str, pretrained_dir: str, of_each: int, corpus: str | None, dtype: str, least: float, least_level: float
) -> Callable[[], float]:
    """The share of frames of either layer whose cosine to those in float32 is below `least`.

    Other arguments as of `taste.benchmark.features.frame_cosines`.

    Args:
        least_level: of the frames that count, in dB of their utterance's level.
    """

    def work() -> float:
        cosines, level = frame_cosines(model, pretrained_dir, of_each, corpus, dtype)
        return float(np.mean([cosine[level >= least_level] < least for cosine in cosines.values()]))

    return work


def loss_on_features(recipe: Path, system: str, test_set: str, pretrained_dir: Path, dtype: str) -> Callable[[], float]:
    """The loss of a system, whose features of a set are made anew.

    Args:
        recipe: directory with `data/` and `exp/`, after the training of the system.
        system, test_set: their names there.
        pretrained_dir: where Whisper's weights are kept.
        dtype: of the encoder's matrix products, as in `taste.precision.compute_dtype`.

    Returns:
        A function that makes the features and returns the loss in nats per unit.

    Raises:
        RecipeError: the system has not been trained, or its data are not there.
    """
    source = recipe.absolute() / "data" / test_set
    made = read_json(require(source / "feats.json", "./run.sh"), "./run.sh")
    config, model = load_system(recipe / "exp" / system, torch.device("cpu"))
    options = FeatureOptions(
        made["model"], str(pretrained_dir), made["layers"], made["deep_layer"], made["shallow_layer"], "float32",
        pad_to_30s=False, dtype=dtype, device="cpu", batch_seconds=60.0, token_type="whisper",
        sentencepiece_model=None, allow_pipes=False,
    )  # fmt: skip

    def work() -> float:
        with tempfile.TemporaryDirectory() as folder:
            data_dir = Path(folder, "data")
            data_dir.mkdir()
            for name in ("wav.scp", "text", "utt2dur", "utt2s3", "units.json", "spk_emb.scp", "spk_emb.json"):
                (data_dir / name).symlink_to(source / name)
            write_text_and_features(data_dir, Path(folder, "ark"), options)
            scores = evaluate(model, UnitDataset(data_dir, config.model), BATCH_UNITS, torch.device("cpu"))
            return total(scores.values()).summary()["loss"]

    return work
