"""Training of one system: reads from top to bottom as it runs."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from taste.checkpoint import BEST, LAST, fit_weights, load_weights, save_weights
from taste.config import Config, TrainConfig, save_config
from taste.dataset import UnitDataset
from taste.errors import RecipeError
from taste.evaluation import evaluate, total
from taste.files import write_json, write_text
from taste.model.joint import Batch, JointModel, Prediction
from taste.precision import check_device, compute_dtype
from taste.progress import progress
from taste.provenance import hardware, peak_memory_bytes, provenance

logger = logging.getLogger(__name__)


def train(
    config: Config, train_set: UnitDataset, dev_set: UnitDataset, system_dir: Path, init_dir: Path | None, device: str
) -> dict:
    """Train a system and keep the weights of the best dev loss.

    Writes into `system_dir`: `config.yaml`, `steps.jsonl` (every step), `epochs.jsonl` (dev figures), `tensorboard/`,
    `best.safetensors`, `last.safetensors`, and at the end `train.json`, which says how it came about.

    Args:
        init_dir: a system to start from; the aggregator may be absent there.

    Returns:
        The contents of `train.json`.

    Raises:
        RecipeError: the sets or the starting point do not fit the configuration, or the loss is not finite.
    """
    start = time.monotonic()
    target = check_device(device)
    settings = config.train
    dtype = compute_dtype(settings.dtype, target)
    torch.manual_seed(settings.seed)
    model = JointModel(config.model)
    if init_dir is not None:
        path = init_dir / BEST
        fit_weights(model, load_weights(path, f"training of {init_dir.name}"), path, may_lack="aggregator.")
    model.to(target)
    optimizer = make_optimizer(model, settings)
    steps = settings.epochs * len(train_set.batches(settings.batch_units, settings.seed))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, learning_rate_factor(settings, steps))

    system_dir.mkdir(parents=True, exist_ok=True)
    write_text(system_dir / "config.yaml", save_config(config))
    log = TrainingLog(system_dir)
    best: dict = {"dev_loss": math.inf}
    step = 0
    for epoch in range(1, settings.epochs + 1):
        for batch in shown(train_set, settings, epoch, system_dir.name):
            step_start = time.monotonic()
            loss, prediction = training_step(model, batch.to(target), optimizer, settings.grad_clip, dtype)
            rate = schedule.get_last_lr()[0]
            schedule.step()
            step += 1
            log.step(step, epoch, loss, rate, time.monotonic() - step_start, batch, prediction)
        figures = total(evaluate(model, dev_set, settings.batch_units, target, dtype).values()).summary()
        record = {"epoch": epoch, "step": step, "dev_loss": figures["loss"], "dev_top1": figures["top1"]}
        log.epoch(record)
        save_weights(system_dir / LAST, model)
        if record["dev_loss"] < best["dev_loss"]:
            best = record
            save_weights(system_dir / BEST, model)
    log.close()
    result = {
        "best": best,
        "updates": step,
        "parameters": sum(p.numel() for p in model.parameters()),
        "trained_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "optimizer": type(optimizer).__name__,
        "dtype": str(dtype).removeprefix("torch."),
        "train": str(train_set.data_dir),
        "train_utts": len(train_set),
        "dev": str(dev_set.data_dir),
        "units": train_set.units_record,
        "init": str(init_dir) if init_dir else None,
        "hardware": hardware(target),
        "seconds": time.monotonic() - start,
        "peak_memory_bytes": peak_memory_bytes(target),
        **provenance(),
    }
    write_json(system_dir / "train.json", result)
    return result


def shown(train_set: UnitDataset, settings: TrainConfig, epoch: int, system: str) -> Iterator[Batch]:
    """One epoch's batches, with a progress bar on a terminal."""
    batches = train_set.batches(settings.batch_units, settings.seed, epoch)
    what = f"{system}, epoch {epoch}/{settings.epochs}"
    yield from progress(train_set.load(batches), what, len(batches), "step")


def make_optimizer(model: JointModel, settings: TrainConfig) -> torch.optim.Optimizer:
    """AdamW with a learning rate of its own for the aggregator; no decay on vectors and embeddings."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        rate = settings.aggregator_learning_rate if name.startswith("aggregator.") else settings.learning_rate
        decays = parameter.ndim > 1 and "embedding" not in name
        groups.setdefault((rate, settings.weight_decay if decays else 0.0), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": group, "lr": rate, "weight_decay": decay} for (rate, decay), group in groups.items()],
        betas=(0.9, 0.98),
        fused=True,
    )


def learning_rate_factor(settings: TrainConfig, steps: int) -> Callable[[int], float]:
    """Linear warm-up, then half a cosine down to `final_learning_rate` of the peak at step `steps`."""

    def factor(step: int) -> float:
        if step < settings.warmup_steps:
            return (step + 1) / settings.warmup_steps
        done = min(1.0, (step - settings.warmup_steps) / max(1, steps - settings.warmup_steps))
        final = settings.final_learning_rate
        return final + (1 - final) * (1 + math.cos(math.pi * done)) / 2

    return factor


def training_step(
    model: JointModel, batch: Batch, optimizer: torch.optim.Optimizer, grad_clip: float, dtype: torch.dtype
) -> tuple[float, Prediction]:
    """One update.

    Raises:
        RecipeError: the loss is not finite; names the utterances of the batch.
    """
    model.train()
    device = batch.unit.device
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        prediction = model(batch)
    loss = prediction.loss()
    if not torch.isfinite(loss):
        raise RecipeError(f"the loss is {loss.item()} on the utterances {', '.join(batch.utts)}")
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), grad_clip)
    optimizer.step()
    return loss.item(), prediction


class TrainingLog:
    """`steps.jsonl`, `epochs.jsonl` and TensorBoard's events of one training run."""

    def __init__(self, system_dir: Path) -> None:
        self.steps = open(system_dir / "steps.jsonl", "w", encoding="utf-8", buffering=1)  # noqa: SIM115
        self.epochs = open(system_dir / "epochs.jsonl", "w", encoding="utf-8", buffering=1)  # noqa: SIM115
        self.board = SummaryWriter(str(system_dir / "tensorboard"))

    def step(
        self, step: int, epoch: int, loss: float, rate: float, seconds: float, batch: Batch, prediction: Prediction
    ) -> None:
        """Log one update, with what the model foresaw of the batch's first utterance beside its true units."""
        counted = prediction.target >= 0
        right = (prediction.logits.argmax(-1) == prediction.target)[counted]
        n = int(batch.unit_length[0])
        record = {
            "step": step,
            "epoch": epoch,
            "loss": loss,
            "top1": right.float().mean().item(),
            "learning_rate": rate,
            "seconds": seconds,
            "utt": batch.utts[0],
            "predicted": prediction.logits[0, :n].argmax(-1).tolist(),
            "true": batch.unit[0, :n].tolist(),
        }
        self.steps.write(json.dumps(record) + "\n")
        for name in ("loss", "top1", "learning_rate"):
            self.board.add_scalar(f"train/{name}", record[name], step)

    def epoch(self, record: dict) -> None:
        """Log the dev figures after an epoch."""
        self.epochs.write(json.dumps(record) + "\n")
        self.board.add_scalar("dev/loss", record["dev_loss"], record["step"])
        self.board.add_scalar("dev/top1", record["dev_top1"], record["step"])
        logger.info("epoch %d: dev loss %.4f, top-1 %.4f", record["epoch"], record["dev_loss"], record["dev_top1"])

    def close(self) -> None:
        """Close the files."""
        self.steps.close()
        self.epochs.close()
        self.board.close()
