"""Training of the network between units and mel spectrograms (stage 11, vocoder griffinlim)."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from taste.archives import read_array
from taste.audio import read_speech
from taste.checkpoint import save_weights
from taste.config import dump_settings, load_settings
from taste.errors import RecipeError, Skipped, UtteranceError
from taste.files import read_json, write_json, write_text
from taste.model.transformer import length_mask
from taste.progress import progress
from taste.provenance import provenance
from taste.tables import read_int_table, read_table
from taste.unit2wav.mel import log_mel
from taste.unit2wav.unit_to_mel import UnitToMel, UnitToMelConfig, frames_per_unit
from taste.units.record import require_same_units

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Speech:
    """An utterance in memory: units (units,), mel frames (units * frames, MELS) in float16, speaker (spk_dim,)."""

    unit: Tensor
    mel: Tensor
    spk_emb: Tensor


def train_unit_to_mel(
    train_dir: Path, dev_dir: Path, out_dir: Path, config_path: Path, device: torch.device, allow_pipes: bool = False
) -> None:
    """Train the network on the recordings' own units; its loss is the mean distance of normalized mel values.

    Writes `out_dir`: `model.safetensors`, the weights with the best dev loss; `config.yaml`; `units.json`, what made
    the units; and `train.json`.

    Args:
        train_dir, dev_dir: data directories after stages 5 and 6.
        allow_pipes: run commands in `wav.scp`.

    Raises:
        RecipeError: a file is missing, the units of the directories differ, or no utterance is left.
    """
    config = load_settings(UnitToMelConfig, config_path)
    record = require_same_units([train_dir, dev_dir])
    frames = frames_per_unit(record["rate"])
    train = load_speech(train_dir, frames, config.max_hours, config.seed, allow_pipes)
    dev = load_speech(dev_dir, frames, config.max_hours, config.seed, allow_pipes)
    torch.manual_seed(config.seed)
    model = UnitToMel(config, record["K"], len(train[0].spk_emb), frames).to(device)
    _set_normalization(model, train)
    start = time.monotonic()
    losses = _train(model, train, dev, config, device)
    save_weights(out_dir / "model.safetensors", model)
    write_text(out_dir / "config.yaml", dump_settings(vars(config)))
    write_json(out_dir / "units.json", record)
    hours = sum(len(each.unit) for each in train) / record["rate"] / 3600
    figures = {"dev_losses": losses, "hours": hours, "spk_dim": len(train[0].spk_emb)}
    write_json(out_dir / "train.json", {**figures, "seconds": time.monotonic() - start, **provenance()})


def load_speech(data_dir: Path, frames: int, max_hours: float, seed: int, allow_pipes: bool) -> list[Speech]:
    """Read utterances, drawn until there are `max_hours` of them; those at fault are named, counted and left out.

    Args:
        frames: mel frames that a unit lasts.

    Raises:
        RecipeError: a file is missing, or no utterance is left.
    """
    wav_scp = read_table(data_dir / "wav.scp", "stage 1")
    units = read_int_table(data_dir / "utt2s3", "stage 5")
    spk_emb = read_table(data_dir / "spk_emb.scp", "stage 6")
    rate = read_json(data_dir / "units.json", "stage 5")["rate"]
    utts = [utt for utt in wav_scp if utt in units and utt in spk_emb]
    utts = [utts[i] for i in np.random.default_rng(seed).permutation(len(utts))]
    hours = np.cumsum([len(units[utt]) / rate / 3600 for utt in utts])
    chosen = utts[: int(np.searchsorted(hours, max_hours)) + 1]
    skipped = Skipped(f"mel spectrograms of {data_dir}")
    speech = []
    for utt in progress(chosen, f"mel spectrograms of {data_dir}"):
        try:
            mel = log_mel(torch.from_numpy(read_speech(wav_scp[utt], allow_pipes)))
            length = min(len(units[utt]), len(mel) // frames)
            mel = mel[: length * frames].half()
            speech.append(
                Speech(torch.tensor(units[utt][:length]), mel, torch.tensor(read_array(spk_emb[utt])).flatten())
            )
        except UtteranceError as error:
            skipped.add(utt, error)
    skipped.report(len(chosen))
    if not speech:
        raise RecipeError(f"{data_dir} has no utterance with audio, units and speaker embedding; run stages 2, 5 and 6")
    return speech


def _set_normalization(model: UnitToMel, train: Sequence[Speech]) -> None:
    frames = torch.cat([each.mel for each in train]).float()
    model.mean.copy_(frames.mean(0))
    model.deviation.copy_(frames.std(0))


def _train(
    model: UnitToMel, train: Sequence[Speech], dev: Sequence[Speech], config: UnitToMelConfig, device: torch.device
) -> list[float]:
    """Train; leave the model with its best weights, and return the dev loss of each epoch."""
    groups = _batches(train, config.batch_frames)
    optimizer = torch.optim.AdamW(model.parameters(), config.learning_rate, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, total_steps=config.epochs * len(groups), pct_start=0.1
    )
    random = np.random.default_rng(config.seed)
    losses: list[float] = []
    best = model.state_dict()
    for epoch in range(1, config.epochs + 1):
        order = [groups[i] for i in random.permutation(len(groups))]
        for group in progress(order, f"unit to mel, epoch {epoch}/{config.epochs}", unit="step"):
            distance, values = _distance(model, [train[i] for i in group], device)
            optimizer.zero_grad()
            (distance / values).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        losses.append(_mean_distance(model, dev, config.batch_frames, device))
        logger.info("epoch %d: dev loss %.4f", epoch, losses[-1])
        if losses[-1] == min(losses):
            best = copy.deepcopy(model.state_dict())
    model.load_state_dict(best)
    return losses


def _batches(speech: Sequence[Speech], batch_frames: int) -> list[list[int]]:
    """Indices in batches of utterances of like length, the longest times their number within `batch_frames`."""
    groups: list[list[int]] = [[]]
    for index in sorted(range(len(speech)), key=lambda i: len(speech[i].mel)):
        if groups[-1] and len(speech[index].mel) * (len(groups[-1]) + 1) > batch_frames:
            groups.append([])
        groups[-1].append(index)
    return groups


def _distance(model: UnitToMel, speech: Sequence[Speech], device: torch.device) -> tuple[Tensor, int]:
    """The sum of distances of normalized mel values over a batch, and how many values there are."""
    unit, mel = (
        pad_sequence([getattr(each, name) for each in speech], batch_first=True).to(device) for name in ("unit", "mel")
    )
    length = torch.tensor([len(each.unit) for each in speech], device=device)
    drawn = model(unit, length, torch.stack([each.spk_emb for each in speech]).to(device))
    distance = (drawn - (mel.float() - model.mean) / model.deviation).abs()
    real = length_mask(length * model.frames, mel.shape[1])
    return distance[real].sum(), int(real.sum()) * mel.shape[2]


@torch.no_grad()
def _mean_distance(model: UnitToMel, speech: Sequence[Speech], batch_frames: int, device: torch.device) -> float:
    sums = [_distance(model, [speech[i] for i in group], device) for group in _batches(speech, batch_frames)]
    return math.fsum(float(distance) for distance, _ in sums) / sum(values for _, values in sums)
