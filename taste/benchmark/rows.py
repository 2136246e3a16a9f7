"""What the benchmark measures: work beside a peer with a mark to reach, and figures that must stay within bounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from taste.benchmark import decoding, quality, reading, training_step
from taste.benchmark.harness import Side
from taste.benchmark.models import ROOT, librispeech_model
from taste.config import load_config
from taste.precision import compute_dtype

DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True)
class Row:
    """Work that two sides do.

    Attributes:
        work: what it is.
        ours, peer: the sides.
        reach: how many times as fast as the peer ours is to be; None: no mark.
        reach_memory: the share of the peer's peak memory that ours is to stay within; None: no mark.
        reach_rate: the share of the machine's rate of matrix products that ours is to reach; None: no mark.
    """

    work: str
    ours: Side
    peer: Side
    reach: float | None = None
    reach_memory: float | None = None
    reach_rate: float | None = None


@dataclass(frozen=True)
class Check:
    """A figure that has to stay within a bound.

    Attributes:
        what: it is.
        sides: that give values, or whose peak memory is the value; the figure is the last one's relative change from
            the first one's, or the only one's value.
        bound: the most it may be, or with `is_least` the least.
        of_memory: whether the values are peak memory.
    """

    what: str
    sides: Sequence[Side]
    bound: float
    is_least: bool = False
    of_memory: bool = False


def has_amx() -> bool:
    """Whether this CPU multiplies matrices with AMX."""
    return bool(getattr(torch.cpu, "get_capabilities", dict)().get("amx_bf16"))


def best_dtype(device: str) -> str:
    """The type that the recipe computes in on a device when it may choose."""
    return str(compute_dtype("auto", torch.device(device))).removeprefix("torch.")


def cpu_rows() -> list[Row]:
    """Work on a CPU."""
    config, dtype = librispeech_model(), best_dtype("cpu")
    step = {"config": config, "dtype": dtype}
    sides = {name: Side(f"upstream, {name}", training_step.upstream, {**step, "dtype": name}) for name in DTYPES}
    ours = Side(f"taste, {dtype}", training_step.ours, step)
    size = f"{training_step.UTTERANCES} x {training_step.TEXT + training_step.UNITS + 3} tokens, 49 M parameters"
    rows = [
        Row(f"LM training step, forward and backward, {size}", ours, sides["float32"], 4.0, 0.6),
        Row("the same, both under bfloat16 autocast", ours, sides["bfloat16"], 2.0, 0.6),
    ]
    for batch, what, reach in ((1, "one utterance", 3.0), (16, "16 utterances at once", 20.0)):
        sides = (Side(f"taste, {dtype}", decoding.ours, {"batch": batch}),)
        sides += (Side("upstream, float32", decoding.upstream, {"batch": batch}),)
        rows.append(Row(f"autoregressive decoding, {what}", *sides, reach))
    epochs = Side("from archives", reading.epoch_from_archives), Side("from memory", reading.epoch_in_memory)
    return [*rows, Row("a training epoch of egs/mini's size, read from archives", *epochs, 0.95)]


def gpu_rows() -> list[Row]:
    """Work on a GPU, in bfloat16."""
    conf = ROOT / "egs/librispeech/conf"
    files = [ROOT / "conf/default.yaml", conf / "model_300m.yaml", conf / "train.yaml", ROOT / "conf/text_only.yaml"]
    step = {"config": load_config(files, ["seed=0"]).model, "dtype": "bfloat16", "device": "cuda"}
    sides = (Side("taste", training_step.ours, step), Side("upstream", training_step.upstream, step))
    return [Row("LM training step of CosyVoice-300M, bfloat16, on the GPU", *sides, reach_rate=0.45)]


def checks(recipe: Path, pretrained_dir: Path) -> list[Check]:
    """Figures that speed must not change."""
    where = {"recipe": recipe, "system": "taste", "test_set": "test", "pretrained_dir": pretrained_dir}
    dtype = best_dtype("cpu")
    losses = [Side(name, quality.loss_on_features, {**where, "dtype": name}) for name in ("float32", dtype)]
    corpora = [Side(f"{n:,} utterances", reading.training_on, {"utterances": n}) for n in (1_000, 10_000, 100_000)]
    return [
        Check(f"unit loss of egs/mini's taste, features in {dtype} instead of float32", losses, 0.005),
        Check("peak memory of training on 100,000 utterances instead of 1,000", corpora, 0.02, of_memory=True),
    ]
