"""Training from archives: whether it waits for them, what it need not do, and whether memory grows with a corpus."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from taste.archives import ArchiveWriter
from taste.benchmark.models import ROOT
from taste.config import Config, load_config
from taste.dataset import UnitDataset, grouped
from taste.files import write_json
from taste.model.batch import Batch
from taste.model.joint import JointModel
from taste.precision import compute_dtype
from taste.tables import read_table
from taste.training.distributed import Processes
from taste.training.finding import find_once
from taste.training.loop import update
from taste.training.optimization import make_optimizer

UTTERANCES = 1020  # as in egs/mini
SECONDS = (2.0, 6.5)  # the shortest and the longest of them
FRAMES_A_SECOND, UNITS_A_SECOND, TOKENS_A_SECOND = 50, 25, 3
VOCABULARY = 1000  # text tokens that occur: of each one trains the embedding, whatever the number of utterances
ARCHIVES = (("feats_deep", "float16"), ("feats_shallow", "float16"), ("spk_emb", "float32"))
UPDATES = 200  # after which memory is looked at


def mini_config(system: str = "taste_attention") -> Config:
    """What egs/mini trains as `system`; random weights take the place of pretrained ones."""
    conf = ROOT / "egs/mini/conf"
    files = [ROOT / "conf/default.yaml", conf / "model.yaml", conf / "train.yaml", ROOT / f"conf/{system}.yaml"]
    return load_config(files, ["seed=1"])


def make_data_dir(folder: Path, utterances: int, distinct: int, config: Config) -> None:
    """A data directory of random utterances as long as egs/mini's, as stages 4 to 6 leave it.

    Args:
        folder: where it is made.
        utterances: how many.
        distinct: how many of them have features of their own; the others share these.
        config: for the sizes.
    """
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    model = config.model
    seconds = random.uniform(*SECONDS, distinct)
    with contextlib.ExitStack() as stack:
        archives = [
            stack.enter_context(ArchiveWriter(folder / f"{name}.ark", folder / f"{name}.own", storage))
            for name, storage in ARCHIVES
        ]
        for index, length in enumerate(seconds):
            sizes = [(int(length * FRAMES_A_SECOND), model.encoder_dim)] * 2 + [(model.spk_embed_dim,)]
            for archive, size in zip(archives, sizes, strict=True):
                archive.write(f"{index:07d}", random.standard_normal(size, dtype=np.float32))
    own = {name: list(read_table(folder / f"{name}.own").values()) for name, _ in ARCHIVES}

    def ids(length: float, rate: float, most: int) -> str:
        return " ".join(map(str, random.integers(0, most, max(1, int(length * rate)))))

    names = [*(f"{name}.scp" for name in own), "utt2s3", "utt2token"]
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(open(folder / name, "w")) for name in names]
        for index in range(utterances):
            source = index % distinct
            values = [locations[source] for locations in own.values()]
            values.append(ids(seconds[source], UNITS_A_SECOND, model.speech_token_size))
            values.append(ids(seconds[source], TOKENS_A_SECOND, VOCABULARY))
            for stream, value in zip(streams, values, strict=True):
                stream.write(f"{index:07d} {value}\n")
    write_json(folder / "units.json", {"K": model.speech_token_size, "rate": UNITS_A_SECOND})
    write_json(folder / "tokens.json", {"token_type": "whisper", "vocab_size": model.text_token_size})
    layers = {"deep_layer": "deep", "shallow_layer": "shallow"}
    write_json(folder / "feats.json", {"model": "none", "dim": model.encoder_dim, "pad_to_30s": False, **layers})
    write_json(folder / "spk_emb.json", {"dim": model.spk_embed_dim})


def epoch_from_archives() -> Callable[[], float]:
    """A training epoch as the recipe's: a thread reads batches ahead."""
    train_on, dataset, batches = _epoch()
    return lambda: train_on(dataset.load(batches))


def epoch_in_memory() -> Callable[[], float]:
    """The same epoch with all its batches in memory before it begins."""
    train_on, dataset, batches = _epoch()
    loaded = list(dataset.load(batches))
    return lambda: train_on(iter(loaded))


def epoch_of_taste(finds_once: bool) -> Callable[[], float]:
    """A training epoch of `taste`, whose attention is not trained: what it finds is read, or is found again."""
    train_on, dataset, batches = _training(mini_config("taste"), UTTERANCES, UTTERANCES, finds_once)
    return lambda: train_on(dataset.load(batches))


def epoch_of_embeddings(narrows: bool) -> Callable[[], float]:
    """A training epoch with the embeddings of the text tokens that occur, or of all that Whisper has."""
    train_on, dataset, batches = _training(mini_config(), UTTERANCES, UTTERANCES, narrows=narrows)
    return lambda: train_on(dataset.load(batches))


def epoch_as_they_come() -> Callable[[], float]:
    """A training epoch whose batches hold utterances of any length, as many as fit padded to the longest."""
    train_on, dataset, _ = _epoch()
    settings = mini_config().train
    order = np.random.default_rng(settings.seed).permutation(len(dataset))
    batches = grouped(order.tolist(), dataset.lengths, settings.batch_units)
    return lambda: train_on(dataset.load(batches))


def training_on(utterances: int) -> Callable[[], float]:
    """Some updates on a corpus of that many utterances."""
    train_on, dataset, batches = _training(mini_config(), utterances, min(utterances, UTTERANCES))
    return lambda: train_on(dataset.load(batches[:UPDATES]))


def _epoch() -> tuple[Callable[[Iterator[Batch]], float], UnitDataset, list[list[int]]]:
    return _training(mini_config(), UTTERANCES, UTTERANCES)


def _training(
    config: Config, utterances: int, distinct: int, finds_once: bool = False, narrows: bool = True
) -> tuple[Callable[[Iterator[Batch]], float], UnitDataset, list[list[int]]]:
    """A function that trains on batches, the data set, and an epoch's batches."""
    folder = tempfile.TemporaryDirectory()
    make_data_dir(Path(folder.name) / "train", utterances, distinct, config)
    dataset = UnitDataset(Path(folder.name) / "train", config.model)
    model = JointModel(config.model)
    if narrows:
        model.narrow(dataset.text_tokens())
    optimizer = make_optimizer(model, config.train)
    group = Processes(0, 1, torch.device("cpu"))
    dtype = compute_dtype(config.train.dtype, group.device)
    if finds_once:
        (dataset,) = find_once(model, [dataset], config.train.batch_units, dtype, Path(folder.name), group)

    def train_on(batches: Iterator[Batch], _keep: object = folder) -> float:
        for batch in batches:
            update(model, [batch], True, optimizer, config.train.grad_clip, dtype, group)
        return 0.0

    return train_on, dataset, dataset.batches(config.train.batch_units, config.train.seed, 1)
