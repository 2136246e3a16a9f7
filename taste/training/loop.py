"""Training of one system, in one process or in several that torchrun starts: reads from top to bottom as it runs."""

from __future__ import annotations

import contextlib
import logging
import math
import shutil
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from taste.checkpoint import AVERAGE, BEST, LAST, average_weights, fit_weights, load_weights, save_tensors, save_weights
from taste.config import Config, TrainConfig, save_config
from taste.dataset import UnitDataset
from taste.errors import RecipeError
from taste.evaluation.teacher_forced import evaluate, total
from taste.files import read_json, write_json, write_text
from taste.hardware import hardware, peak_memory_bytes
from taste.model.batch import Batch
from taste.model.joint import JointModel
from taste.model.transformer import length_mask
from taste.precision import autocast, check_device, compute_dtype
from taste.progress import progress
from taste.provenance import provenance
from taste.training.distributed import Processes, processes
from taste.training.finding import FOUND_DIR, find_once
from taste.training.initialization import initialize
from taste.training.log import TrainingLog
from taste.training.optimization import learning_rate_factor, make_optimizer, set_learning_rate
from taste.training.state import STATE, Progress, restore_state, save_state

logger = logging.getLogger(__name__)
QUANTIZER_VECTORS = 20_000  # that a quantizer begins from
FAULTY_UPDATES_IN_A_ROW = 10  # after which training stops


def train(
    config: Config, train_set: UnitDataset, dev_set: UnitDataset, system_dir: Path, init: Path | None, device: str,
    pretrained_dir: Path | None = None,
) -> dict:  # fmt: skip
    """Train a system; where an earlier call with the same settings was stopped, go on from its last state.

    Writes into `system_dir`: `config.yaml`, `steps.jsonl` (every update), `epochs.jsonl` (dev figures), `tensorboard/`,
    `best.safetensors` (best dev loss), `last.safetensors`, `average.safetensors` (mean of the best epochs, where
    `average_epochs` asks for it), while it runs `state.pt`, and at the end `train.json`, which says how it came about.

    Args:
        init: a system to start from, or an `llm.pt` of CosyVoice; the speech side may be absent there.
        pretrained_dir: where Whisper's weights are kept, for an aggregator made of its decoder.

    Returns:
        The contents of `train.json`.

    Raises:
        RecipeError: sets, starting point or state do not fit the configuration; the loss stays not finite; the disk is
            full.
    """
    with processes(check_device(device)) as group:
        return _train(config, train_set, dev_set, system_dir, init, pretrained_dir, group)


def _train(
    config: Config, train_set: UnitDataset, dev_set: UnitDataset, system_dir: Path, init: Path | None,
    pretrained_dir: Path | None, group: Processes,
) -> dict:  # fmt: skip
    settings = config.train
    if settings.batches_per_update < group.count:
        raise RecipeError(
            f"batches_per_update is {settings.batches_per_update}, less than one for each of {group.count} processes"
        )
    dtype = compute_dtype(settings.dtype, group.device)
    torch.manual_seed(settings.seed)
    model = JointModel(config.model)
    initialize(model, init, train_set, pretrained_dir)
    model.to(group.device)
    parameters = sum(p.numel() for p in model.parameters())
    model.narrow(torch.cat((train_set.text_tokens(), dev_set.text_tokens())).unique())
    optimizer = make_optimizer(model, settings)
    torch.manual_seed(settings.seed + group.rank)  # dropout differs between processes

    system_dir.mkdir(parents=True, exist_ok=True)
    done = restore_state(system_dir, save_config(config), model, optimizer, group) or Progress()
    if done.step:
        logger.info("going on after update %d, in epoch %d", done.step, done.epoch)
    if group.is_first:
        (system_dir / "train.json").unlink(missing_ok=True)
        write_text(system_dir / "config.yaml", save_config(config))
    log = TrainingLog(system_dir, done.step) if group.is_first else None
    start = time.monotonic() - done.seconds
    train_set, dev_set = find_once(model, (train_set, dev_set), settings.batch_units, dtype, system_dir, group)
    steps = sum(len(epoch_updates(train_set, settings, epoch)) for epoch in range(1, settings.epochs + 1))
    parallel = group.wrap(model)

    while done.epoch <= settings.epochs and not stops_early(done, settings):
        switch_on_quantizer(model, train_set, settings, done, system_dir, group)
        for batches, counts in shown_updates(train_set, settings, done, group, system_dir.name):
            update_start = time.monotonic()
            rate = set_learning_rate(optimizer, learning_rate_factor(settings, done.step, steps))
            record = update(parallel, batches, counts, optimizer, settings.grad_clip, dtype, group)
            done.step += 1
            done.updates_in_epoch += 1
            if record is None:
                continue
            note_faults(done, record.pop("is_finite"), batches, group)
            if log:
                seconds = time.monotonic() - update_start
                log.step({"step": done.step, "epoch": done.epoch, **record, "learning_rate": rate, "seconds": seconds})
            if done.step % settings.checkpoint_steps == 0:
                done.seconds = time.monotonic() - start
                save_state(system_dir, save_config(config), done, model, optimizer, group)
        scores = evaluate(model, dev_set, settings.batch_units, group.device, dtype, share=group.share)
        figures = total(group.merge(scores).values()).summary()
        end_epoch(done, figures, model, settings, system_dir, log)
        done.seconds = time.monotonic() - start
        save_state(system_dir, save_config(config), done, model, optimizer, group)

    if log:
        save_weights(system_dir / LAST, model)
    result = {
        "best": done.best,
        "average": average_of_best(done, model, dev_set, settings, system_dir, group, dtype),
        "epochs": done.epoch - 1,
        "updates": done.step,
        "updates_in_all": done.step + updates_before(init),
        "skipped_updates": done.skipped,
        "parameters": parameters,
        "trained_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "optimizer": type(optimizer).__name__,
        "dtype": str(dtype).removeprefix("torch."),
        "train": str(train_set.data_dir),
        "train_utts": len(train_set),
        "dev": str(dev_set.data_dir),
        "units": train_set.units_record,
        "tokens": train_set.tokens_record,
        "encoder": train_set.encoder_record,
        "feats": train_set.feats_record,
        "spk_emb": train_set.spk_emb_record,
        "init": str(init) if init else None,
        "hardware": hardware(group.device),
        "processes": group.count,
        "seconds": time.monotonic() - start,
        "peak_memory_bytes": peak_memory_bytes(group.device),
        **provenance(),
    }
    if log:
        log.close()
        write_json(system_dir / "train.json", result)
        (system_dir / STATE).unlink()
        shutil.rmtree(system_dir / FOUND_DIR, ignore_errors=True)
    return result


def updates_before(init: Path | None) -> int:
    """The updates that a system to be started from has behind it since random weights, or CosyVoice's own."""
    if init is None or not init.is_dir():
        return 0
    return read_json(init / "train.json", f"training of {init.name}")["updates_in_all"]


def stops_early(done: Progress, settings: TrainConfig) -> bool:
    """True when the dev loss has not got better for `patience` epochs."""
    return 0 < settings.patience <= done.epochs_without_better


def switch_on_quantizer(
    model: JointModel, train_set: UnitDataset, settings: TrainConfig, done: Progress, system_dir: Path, group: Processes
) -> None:
    """Let a quantizer begin from what the aggregator says of the training set, when its epoch has come.

    Epochs before that, better as they may have been, are no longer among those that the best one is chosen from.
    """
    quantizer = model.speech.quantizer if model.speech is not None else None
    if quantizer is None or quantizer.is_on or done.epoch < settings.quantizer_epoch:
        return
    quantizer.switch_on(
        aggregated(model, train_set, settings.batch_units, group.device), model.speech.reader.weight.detach()
    )
    done.best, done.epochs_without_better = {}, 0
    for name in done.kept:
        (system_dir / name).unlink(missing_ok=True)
    done.kept = {}


@torch.no_grad()
def aggregated(model: JointModel, dataset: UnitDataset, batch_units: int, device: torch.device) -> Tensor:
    """What the aggregator says of some 20,000 text tokens, or of all there are: (n, aggregator_dim)."""
    model.eval()
    vectors: list[Tensor] = []
    for batch in dataset.read(batch_units, device, seed=0):
        z, _ = model.speech.aggregate(model.lm.encode_text(batch.text_token), batch)
        vectors.append(z[length_mask(batch.text_length, z.shape[1])])
        if sum(map(len, vectors)) >= QUANTIZER_VECTORS:
            break
    return torch.cat(vectors)


def epoch_updates(train_set: UnitDataset, settings: TrainConfig, epoch: int) -> list[list[list[int]]]:
    """An epoch as updates, each a list of batches, each a list of utterances' indices; whatever the processes."""
    batches = train_set.batches(settings.batch_units, settings.seed, epoch)
    size = settings.batches_per_update
    return [batches[start : start + size] for start in range(0, len(batches), size)]


def shown_updates(
    train_set: UnitDataset, settings: TrainConfig, done: Progress, group: Processes, system: str
) -> Iterator[tuple[list[Batch], bool]]:
    """The rest of an epoch, with a progress bar.

    Yields:
        The batches of one update that this process computes, and whether they count: a process for which an update has
        none, being the last or damaged, computes one without counting it, as all have to take part in the exchange of
        gradients.
    """
    updates = epoch_updates(train_set, settings, done.epoch)[done.updates_in_epoch :]
    shares = [group.share(batches) or batches[:1] for batches in updates]
    loaded = train_set.load([batch for share in shares for batch in share])
    pairs = zip(updates, shares, strict=True)
    if group.is_first:
        pairs = progress(pairs, f"{system}, epoch {done.epoch}/{settings.epochs}", len(updates), "step")
    spare: list[Batch] = []
    for batches, share in pairs:
        usable = [batch for batch in islice(loaded, len(share)) if batch.utts]
        spare = usable[:1] or spare
        yield usable or spare, bool(usable) and len(batches) > group.rank


def update(
    model: nn.Module,
    batches: list[Batch],
    counts: bool,
    optimizer: torch.optim.Optimizer,
    grad_clip: float,
    dtype: torch.dtype,
    group: Processes,
) -> dict | None:
    """One update, from the mean loss over the units of all processes' batches.

    Args:
        batches: this process's own.
        counts: whether they are counted.

    Returns:
        `loss` and `top1` over all processes, what the model foresaw of the first utterance beside its true units, and
        `is_finite`: where it is not, nothing was changed. None where no process has an utterance to learn from.

    Raises:
        RecipeError: this process has no batch to take part with.
    """
    model.train()
    weight = float(counts)
    (units,) = group.total([weight * sum(int(batch.unit_length.sum()) + len(batch.utts) for batch in batches)])
    if not units:
        return None
    if not batches:
        raise RecipeError("none of the first batches of the epoch could be read; the reasons are named above")
    loss = right = 0.0
    first: dict = {}
    for index, batch in enumerate(batches):
        batch = batch.to(group.device)
        is_last = index == len(batches) - 1
        exchange = contextlib.nullcontext()
        if isinstance(model, DistributedDataParallel) and not is_last:
            exchange = model.no_sync()
        with exchange:
            with autocast(group.device, dtype):
                prediction = model(batch)
            nll = prediction.losses().sum() * weight
            objective = nll / units
            if prediction.speech is not None:
                objective = objective + prediction.speech.commitment * (weight / len(batches) / group.count)
            (objective * group.count).backward()  # DDP takes the mean over the processes
        foreseen = prediction.logits.argmax(-1)
        loss += nll.item()
        right += weight * (foreseen == prediction.target).sum().item()
        first = first or sample(batch, foreseen)
    loss, right = (value / units for value in group.total([loss, right]))
    norm = nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], grad_clip)
    is_finite = math.isfinite(loss) and bool(torch.isfinite(norm))
    if is_finite:
        optimizer.step()
    optimizer.zero_grad()
    return {"loss": loss, "top1": right, **first, "is_finite": is_finite}


def sample(batch: Batch, foreseen: torch.Tensor) -> dict:
    """What the model foresaw of a batch's first utterance, beside its true units."""
    n = int(batch.unit_length[0])
    return {"utt": batch.utts[0], "predicted": foreseen[0, :n].tolist(), "true": batch.unit[0, :n].tolist()}


def note_faults(done: Progress, is_finite: bool, batches: list[Batch], group: Processes) -> None:
    """Count updates that were left out since their loss or gradient was not finite.

    Raises:
        RecipeError: ten of them in a row; names the utterances of the last.
    """
    done.skipped_in_a_row = 0 if is_finite else done.skipped_in_a_row + 1
    if is_finite:
        return
    done.skipped += 1
    utts = [utt for named in group.gather([utt for batch in batches for utt in batch.utts]) for utt in named]
    logger.warning("update %d left out: its loss or gradient is not finite; utterances %s", done.step, ", ".join(utts))
    if done.skipped_in_a_row == FAULTY_UPDATES_IN_A_ROW:
        raise RecipeError(
            f"the loss or its gradient was not finite in {FAULTY_UPDATES_IN_A_ROW} updates in a row; the last was on "
            f"the utterances {', '.join(utts)}; lower the learning rates, or look at these utterances' features"
        )


def end_epoch(
    done: Progress, figures: dict, model: nn.Module, settings: TrainConfig, system_dir: Path, log: TrainingLog | None
) -> None:
    """Keep the weights of the best and of the epochs to be averaged, and move on to the next epoch.

    Args:
        log: None in the processes that write nothing.
    """
    record = {"epoch": done.epoch, "step": done.step, "dev_loss": figures["loss"], "dev_top1": figures["top1"]}
    is_better = not done.best or record["dev_loss"] < done.best["dev_loss"]
    done.epochs_without_better = 0 if is_better else done.epochs_without_better + 1
    done.best = record if is_better else done.best
    name = f"epoch{done.epoch}.safetensors"
    done.kept[name] = record["dev_loss"]
    worst_first = sorted(done.kept, key=done.kept.get, reverse=True)
    dropped = worst_first[: len(worst_first) - settings.average_epochs]
    if log:
        log.epoch(record)
        if is_better:
            save_weights(system_dir / BEST, model)
        if name not in dropped:
            save_weights(system_dir / name, model)
        for worse in dropped:
            (system_dir / worse).unlink(missing_ok=True)
    for worse in dropped:
        del done.kept[worse]
    done.epoch += 1
    done.updates_in_epoch = 0


def average_of_best(
    done: Progress, model: JointModel, dev_set: UnitDataset, settings: TrainConfig, system_dir: Path, group: Processes,
    dtype: torch.dtype,
) -> dict | None:  # fmt: skip
    """Write the mean of the best epochs' weights, and say what it scores on the dev set; None where none is kept."""
    if not done.kept:
        return None
    paths = [system_dir / name for name in sorted(done.kept)]
    if group.is_first and all(path.exists() for path in paths):  # else a run that was stopped has done so
        save_tensors(system_dir / AVERAGE, average_weights(paths))
    group.gather(None)  # wait for the file
    fit_weights(model, load_weights(system_dir / AVERAGE, "training"), system_dir / AVERAGE)
    scores = evaluate(model, dev_set, settings.batch_units, group.device, dtype, share=group.share)
    loss = total(group.merge(scores).values()).summary()["loss"]
    if group.is_first:
        for path in paths:
            path.unlink(missing_ok=True)
    return {"epochs": sorted(int(path.stem.removeprefix("epoch")) for path in paths), "dev_loss": loss}
