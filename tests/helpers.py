"""Things that several tests need."""

import json
from pathlib import Path

import numpy as np
import torch

from taste.archives import ArchiveWriter
from taste.config import Config, ModelConfig, TrainConfig
from taste.dataset import UnitDataset
from taste.evaluation.results import collect_results, evaluate_system
from taste.files import write_json
from taste.model.sampling import Sampling
from taste.tables import write_table

UNITS = 12


def model_config(**changes) -> ModelConfig:
    """A tiny model's sizes, some of them changed."""
    sizes = {
        "text_token_size": 50, "speech_token_size": UNITS, "spk_embed_dim": 6, "text_encoder_input_size": 8, "dim": 16,
        "attention_heads": 2, "linear_units": 32, "text_encoder_blocks": 1, "llm_blocks": 1, "dropout": 0.0,
        "unit_dropout": 0.0, "encoder_dim": 12, "aggregator": "none", "aggregator_dim": 12, "aggregator_heads": 2,
        "aggregator_layers": 1,
        "key_layer": "deep", "value_layers": ["shallow"], "query_stride": 2, "speech_of": "itself", "pooling": "none",
        "quantizer": "none", "codebooks": 2, "codebook_size": 8, "codebook_dim": 4, "codebook_decay": 0.9,
        "dead_code_uses": 0.01, "quantizer_dropout": True, "commitment_weight": 0.25, "fsq_levels": [5, 3],
        "speech_encoder_blocks": 0, "fusion": "sum",
    }  # fmt: skip
    return ModelConfig(**{**sizes, **changes})


def tiny_config(aggregator: str = "none", model: dict | None = None, **changes) -> Config:
    """A tiny system's configuration, some of the sizes and training settings changed."""
    settings = {
        "seed": 1, "epochs": 2, "patience": 0, "batch_units": 400, "batches_per_update": 1,
        "learning_rates": {"lm": 0.01, "speech": 0.02}, "frozen": [], "warmup_steps": 2, "final_learning_rate": 0.1,
        "weight_decay": 0.0, "grad_clip": 1.0, "dtype": "float32", "checkpoint_steps": 1000, "quantizer_epoch": 1,
        "average_epochs": 0,
    }  # fmt: skip
    return Config(model_config(aggregator=aggregator, **(model or {})), TrainConfig(**{**settings, **changes}))


def evaluate_systems(exp: Path, systems: list[str], data: Path, test_set: str = "test") -> dict:
    """Score systems on a set, and put their scores together; returns the contents of `results.json`."""
    for system in systems:
        evaluate_system(exp / system, data / "train", [data / test_set], torch.device("cpu"), Sampling(), 1)
    return collect_results(exp, systems, data / "train", [data / test_set])


def make_data_dir(data_dir: Path, n_utts: int, seed: int = 0) -> list[str]:
    """Write a data directory as stages 4 to 6 leave it.

    The features tell the units, text and speaker say nothing of them: all units of an utterance are one number or the
    next, drawn by chance, and each frame tells which number.
    """
    random = np.random.default_rng(seed)
    utts = [f"spk{i % 3}-utt{i:04d}" for i in range(n_utts)]
    code = np.random.default_rng(99).normal(size=(UNITS // 2, 12)).astype(np.float32)
    units, tokens, words, texts = {}, {}, {}, {}
    data_dir.mkdir(parents=True, exist_ok=True)
    with (
        ArchiveWriter(data_dir / "deep.ark", data_dir / "feats_deep.scp") as deep,
        ArchiveWriter(data_dir / "shallow.ark", data_dir / "feats_shallow.scp") as shallow,
        ArchiveWriter(data_dir / "spk_emb.ark", data_dir / "spk_emb.scp") as spk_emb,
    ):
        for utt in utts:
            length = int(random.integers(3, 7))
            kind = int(random.integers(UNITS // 2))
            unit = 2 * kind + random.integers(0, 2, length)
            frames = np.tile(code[kind], (4 * length, 1))
            token = random.integers(0, 50, length)
            words[utt] = " ".join(["1"] * (length - 2) + ["2"])
            texts[utt] = f"text of {utt}"
            tokens[utt] = " ".join(map(str, token))
            units[utt] = " ".join(map(str, unit))
            deep.write(utt, frames)
            shallow.write(utt, frames)
            spk_emb.write(utt, random.normal(size=6).astype(np.float32))
    write_table(data_dir / "utt2s3", units)
    write_table(data_dir / "utt2token", tokens)
    write_table(data_dir / "utt2word_tokens", words)
    write_table(data_dir / "text", texts)
    write_table(data_dir / "utt2dur", {utt: f"{len(tokens[utt].split()) / 3:.2f}" for utt in utts})
    write_table(data_dir / "utt2spk", {utt: utt.split("-")[0] for utt in utts})
    write_json(data_dir / "units.json", {"backend": "kmeans", "model": "tiny.en", "layer": "2", "K": UNITS, "rate": 25})
    write_json(data_dir / "tokens.json", {"token_type": "whisper", "vocab_size": 50})
    encoder = {"model": "base", "weights_sha256": "0", "pad_to_30s": False}
    write_json(data_dir / "feats.json", {"dim": 12, "deep_layer": "deep", "shallow_layer": "shallow", **encoder})
    write_json(data_dir / "spk_emb.json", {"dim": 6})
    return utts


def make_sets(root: Path, n_train: int) -> Path:
    """Write data directories `train` and, of ten other utterances, `dev` into `root`; returns `root`."""
    make_data_dir(root / "train", n_train)
    make_data_dir(root / "dev", 10, seed=1)
    return root


def open_sets(root: Path, config: Config) -> list[UnitDataset]:
    """The data directories `train` and `dev` of `root`."""
    return [UnitDataset(root / name, config.model) for name in ("train", "dev")]


def losses(system_dir: Path) -> list[float]:
    """The loss of each update of a system."""
    return [json.loads(line)["loss"] for line in (system_dir / "steps.jsonl").read_text().splitlines()]
