"""Training of the network between units, and mel spectrograms and pitch (stage 11, vocoder griffinlim)."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from taste.archives import read_array
from taste.audio import read_speech
from taste.checkpoint import save_weights
from taste.config import dump_settings, load_settings
from taste.dataset import grouped
from taste.errors import RecipeError, Skipped, UtteranceError
from taste.files import read_json, write_json, write_text
from taste.model.transformer import length_mask
from taste.parallel import in_processes
from taste.precision import autocast, compute_dtype
from taste.progress import progress
from taste.provenance import provenance
from taste.scores.acoustics import track_f0
from taste.tables import read_int_table, read_table
from taste.unit2wav.mel import FRAME_RATE, MELS, log_mel
from taste.unit2wav.unit_to_mel import UnitToMel, UnitToMelConfig, frames_per_unit
from taste.units.record import require_same_units

logger = logging.getLogger(__name__)
F0_EVERY = 2  # frames; tracking it in each takes twice as long
PITCH_WEIGHT = 0.3  # of the loss of F0, and of that of there being a voice


@dataclass(frozen=True)
class Speech:
    """An utterance in memory.

    Attributes:
        unit: (units,).
        frames: (units * frames, MELS + 1), logarithms of mel magnitudes and of F0, which is NaN without a voice.
        spk_emb: (spk_dim,).
    """

    unit: Tensor
    frames: Tensor
    spk_emb: Tensor


def train_unit_to_mel(
    train_dir: Path, dev_dir: Path, out_dir: Path, config_path: Path, device: torch.device, allow_pipes: bool = False,
    jobs: int = 1,
) -> None:  # fmt: skip
    """Train the network on the recordings' own units.

    Its loss is the mean distance of normalized mel values, and `PITCH_WEIGHT` times that of normalized log F0 where
    there is a voice and the cross-entropy of there being one.

    Writes `out_dir`: `model.safetensors`, the weights with the best dev loss; `config.yaml`; `units.json`, what made
    the units; and `train.json`.

    Args:
        train_dir, dev_dir: data directories after stages 5 and 6.
        allow_pipes: run commands in `wav.scp`.
        jobs: processes that read the speech, as in `in_processes`.

    Raises:
        RecipeError: a file is missing, the units of the directories differ, or no utterance is left.
    """
    config = load_settings(UnitToMelConfig, config_path)
    record = require_same_units([train_dir, dev_dir])
    frames = frames_per_unit(record["rate"])
    wanted = [(data_dir, choose(data_dir, config.max_hours, config.seed)) for data_dir in (train_dir, dev_dir)]
    sources = [source for _, of_set in wanted for source in of_set.values()]
    read = in_processes(partial(_frames_of, allow_pipes), sources, jobs)
    train, dev = (load_speech(data_dir, list(of_set), read, frames) for data_dir, of_set in wanted)
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


def choose(data_dir: Path, max_hours: float, seed: int) -> dict[str, str]:
    """Draw utterances with units and speaker embedding until there are `max_hours` of them: utterance -> audio."""
    wav_scp = read_table(data_dir / "wav.scp", "stage 1")
    units = read_int_table(data_dir / "utt2s3", "stage 5")
    spk_emb = read_table(data_dir / "spk_emb.scp", "stage 6")
    rate = read_json(data_dir / "units.json", "stage 5")["rate"]
    utts = [utt for utt in wav_scp if utt in units and utt in spk_emb]
    utts = [utts[i] for i in np.random.default_rng(seed).permutation(len(utts))]
    hours = np.cumsum([len(units[utt]) / rate / 3600 for utt in utts])
    return {utt: wav_scp[utt] for utt in utts[: int(np.searchsorted(hours, max_hours)) + 1]}


def load_speech(
    data_dir: Path, utts: Sequence[str], read: Iterator[np.ndarray | UtteranceError], frames: int
) -> list[Speech]:
    """Put utterances together; those at fault are named, counted and left out.

    Args:
        read: what `_frames_of` gives of each of them, and perhaps of others after them.
        frames: mel frames that a unit lasts.

    Raises:
        RecipeError: no utterance is left.
    """
    units = read_int_table(data_dir / "utt2s3", "stage 5")
    spk_emb = read_table(data_dir / "spk_emb.scp", "stage 6")
    skipped = Skipped(f"mel spectrograms of {data_dir}")
    speech = []
    for utt in progress(utts, f"mel spectrograms of {data_dir}"):
        try:
            found = next(read)
            if isinstance(found, UtteranceError):
                raise found
            length = min(len(units[utt]), len(found) // frames)
            embedding = torch.tensor(read_array(spk_emb[utt])).flatten()
            frames_found = torch.from_numpy(found[: length * frames])
            speech.append(Speech(torch.tensor(units[utt][:length]), frames_found, embedding))
        except UtteranceError as error:
            skipped.add(utt, error)
    skipped.report(len(utts))
    if not speech:
        raise RecipeError(f"{data_dir} has no utterance with audio, units and speaker embedding; run stages 2, 5 and 6")
    return speech


def _frames_of(allow_pipes: bool, source: str) -> np.ndarray | UtteranceError:
    """What `Speech.frames` has of a sound file, or why there is nothing.

    As an array: of each tensor that comes from another process a file would stay open.
    """
    try:
        samples = read_speech(source, allow_pipes)
    except UtteranceError as error:
        return error
    mel = log_mel(torch.from_numpy(samples)).numpy()
    f0 = track_f0(samples, FRAME_RATE // F0_EVERY).repeat(F0_EVERY)[: len(mel)]
    return np.column_stack((mel, np.log(f0))).astype(np.float32)


def _set_normalization(model: UnitToMel, train: Sequence[Speech]) -> None:
    frames = torch.cat([each.frames for each in train])
    voiced = frames[frames[:, MELS].isfinite(), MELS]
    if len(voiced) < 2:
        raise RecipeError("no voice was found in the training speech, so the vocoder cannot learn the pitch")
    model.mean.copy_(torch.cat((frames[:, :MELS].mean(0), voiced.mean()[None])))
    model.deviation.copy_(torch.cat((frames[:, :MELS].std(0), voiced.std()[None])))


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
            loss, frames = _loss(model, [train[i] for i in group], device)
            optimizer.zero_grad()
            (loss / frames).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        losses.append(_mean_loss(model, dev, config.batch_frames, device))
        logger.info("epoch %d: dev loss %.4f", epoch, losses[-1])
        if losses[-1] == min(losses):
            best = copy.deepcopy(model.state_dict())
    model.load_state_dict(best)
    return losses


def _batches(speech: Sequence[Speech], batch_frames: int) -> list[list[int]]:
    """Indices in batches of utterances of like length, as in `taste.dataset.grouped`."""
    lengths = [len(each.frames) for each in speech]
    return grouped(sorted(range(len(speech)), key=lengths.__getitem__), lengths, batch_frames)


def _loss(model: UnitToMel, speech: Sequence[Speech], device: torch.device) -> tuple[Tensor, int]:
    """The loss, summed over the frames of a batch, and how many these are."""
    unit, frames = (
        pad_sequence([getattr(each, name) for each in speech], batch_first=True).to(device)
        for name in ("unit", "frames")
    )
    length = torch.tensor([len(each.unit) for each in speech], device=device)
    spk_emb = torch.stack([each.spk_emb for each in speech]).to(device)
    with autocast(device, compute_dtype("auto", device)):
        drawn = model(unit, length, spk_emb).float()
    real = length_mask(length * model.frames, frames.shape[1])
    drawn, frames = drawn[real], frames[real]
    wanted = (frames - model.mean) / model.deviation
    voiced = wanted[:, MELS].isfinite()
    mel = F.l1_loss(drawn[:, :MELS], wanted[:, :MELS], reduction="sum") / MELS
    pitch = F.l1_loss(drawn[voiced, MELS], wanted[voiced, MELS], reduction="sum")
    voice = F.binary_cross_entropy_with_logits(drawn[:, -1], voiced.float(), reduction="sum")
    return mel + PITCH_WEIGHT * (pitch + voice), len(frames)


@torch.no_grad()
def _mean_loss(model: UnitToMel, speech: Sequence[Speech], batch_frames: int, device: torch.device) -> float:
    sums = [_loss(model, [speech[i] for i in group], device) for group in _batches(speech, batch_frames)]
    return math.fsum(float(loss) for loss, _ in sums) / sum(frames for _, frames in sums)
