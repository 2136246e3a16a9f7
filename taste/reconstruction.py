"""Waveforms of the recordings' own units (the topline) and of the units that systems have sampled (stage 11)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import soundfile
import torch

from taste.archives import read_array
from taste.errors import Skipped, UtteranceError
from taste.files import atomic_path, read_json, require, sha256, write_json
from taste.progress import progress
from taste.tables import read_int_table, read_table, write_table
from taste.unit2wav.vocoder import Vocoder
from taste.units.record import require_same_units

TOPLINE = "topline"
BATCH = 8  # utterances that the vocoder gets at a time


def reconstruct(row_dir: Path, data_dirs: Sequence[Path], vocoder: Vocoder) -> None:
    """Write the waveforms of a system or of the topline: `row_dir/wav/<set>/`, as `write_waveforms` does.

    Args:
        row_dir: `exp/topline`, whose units are the recordings' own, or a system evaluated by stage 10, which keeps the
            units it samples in `<system>/spoken/<set>/utt2s3`.

    Raises:
        RecipeError: the system has not been evaluated, or the units are not the vocoder's.
    """
    vocoder.check_units(require_same_units(data_dirs), str(data_dirs[0]))
    for data_dir in data_dirs:
        units_dir = data_dir if row_dir.name == TOPLINE else row_dir / "spoken" / data_dir.name
        utt2s3 = require(units_dir / "utt2s3", "stage 10")
        write_waveforms(utt2s3, data_dir, row_dir / "wav" / data_dir.name, vocoder)


def write_waveforms(utt2s3: Path, data_dir: Path, out_dir: Path, vocoder: Vocoder) -> None:
    """Write `<utt>.wav` of the utterances of a file of units, `wav.scp`, and `wav.json`: how they were made.

    A run that was interrupted goes on: what is there from the same units and vocoder stays. Utterances without units or
    speaker embedding are named, counted and left out.

    Args:
        data_dir: has the speaker embeddings.
    """
    units = read_int_table(utt2s3, "stage 10")
    spk_emb = read_table(data_dir / "spk_emb.scp", "stage 6")
    made_from = {"vocoder": vocoder.name, "weights_sha256": vocoder.weights_sha256, "units_sha256": sha256(utt2s3)}
    record = _start(out_dir, made_from)
    skipped = Skipped(f"waveforms of {utt2s3}")
    wanted = {}
    for utt, ids in units.items():
        if (out_dir / f"{utt}.wav").exists():
            continue
        try:
            wanted[utt] = torch.tensor(_some(ids)), torch.tensor(read_array(spk_emb[utt])).float().flatten()
        except KeyError:
            skipped.add(utt, f"has no speaker embedding in {data_dir}")
        except UtteranceError as error:
            skipped.add(utt, error)
    utts = sorted(wanted, key=lambda utt: len(wanted[utt][0]))
    batches = [utts[start : start + BATCH] for start in range(0, len(utts), BATCH)]
    for batch in progress(batches, str(out_dir), unit="batch"):
        start = time.monotonic()
        batch_units, speakers = zip(*(wanted[utt] for utt in batch), strict=True)
        waveforms = vocoder(batch_units, torch.stack(speakers))
        record["seconds"] += time.monotonic() - start
        for utt, waveform in zip(batch, waveforms, strict=True):
            record["audio_seconds"] += len(waveform) / vocoder.sample_rate
            with atomic_path(out_dir / f"{utt}.wav") as partial:
                soundfile.write(partial, waveform.numpy(), vocoder.sample_rate, "PCM_16", format="WAV")
        write_json(out_dir / "wav.json", record)
    written = [utt for utt in units if (out_dir / f"{utt}.wav").exists()]
    write_table(out_dir / "wav.scp", {utt: str((out_dir / f"{utt}.wav").absolute()) for utt in written})
    skipped.report(len(units))


def _some(units: list[int]) -> list[int]:
    if not units:
        raise UtteranceError("has no units")
    return units


def _start(out_dir: Path, made_from: Mapping[str, Any]) -> dict[str, Any]:
    """The record of an interrupted run with the same units and vocoder, or a new one, where others' files go."""
    path = out_dir / "wav.json"
    record = read_json(path, "stage 11") if path.exists() else {}
    if any(record.get(name) != value for name, value in made_from.items()):
        for wav in out_dir.glob("*.wav"):
            wav.unlink()
        record = {**made_from, "seconds": 0.0, "audio_seconds": 0.0}
        write_json(path, record)
    return record
