"""TASTE tokens as a Kaldi file: `utt2taste`, one line an utterance, for each text token the integers of its codebooks.

`utt 12 400 3 77 9 …` with four codebooks is a token (12, 400, 3, 77), then the next. `taste.json` beside it says which
system's they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from taste.checkpoint import BEST
from taste.dataset import UnitDataset
from taste.errors import RecipeError
from taste.files import read_json, sha256, write_json
from taste.model.batch import Batch
from taste.model.joint import JointModel
from taste.model.speech import Speech
from taste.tables import read_int_table, read_table, write_table

TABLE, RECORD = "utt2taste", "taste.json"


@torch.inference_mode()
def tokenize(
    model: JointModel, dataset: UnitDataset, batch_units: int, device: torch.device, what: str | None = None
) -> dict[str, np.ndarray]:
    """The TASTE tokens of every utterance: (text tokens, codebooks) each.

    Raises:
        RecipeError: the system has no quantizer.
    """
    if not has_quantizer(model):
        raise RecipeError("a system without quantizer has no TASTE tokens; train one of conf/taste_rvq.yaml's kind")
    model.eval()
    tokens = {}
    for batch in dataset.read(batch_units, device, what):
        code = speech_of(model, batch).code
        for utt, row, length in zip(batch.utts, code.cpu().numpy(), batch.text_length.tolist(), strict=True):
            tokens[utt] = row[:length]
    return tokens


def has_quantizer(model: JointModel) -> bool:
    """Whether a system makes TASTE tokens."""
    return model.speech is not None and model.speech.quantizer is not None


def speech_of(model: JointModel, batch: Batch) -> Speech:
    """What the speech side of a system that has one says of a batch."""
    return model.speech(model.lm.encode_text(batch.text_token), batch)


def write_tokens(folder: Path, tokens: Mapping[str, np.ndarray], system_dir: Path, sizes: list[int]) -> None:
    """Write `utt2taste` and `taste.json` into a folder.

    Args:
        system_dir: of the system whose tokens they are.
        sizes: entries of each of its codebooks.
    """
    write_json(folder / RECORD, {"codebook_sizes": sizes, "weights_sha256": sha256(system_dir / BEST)})
    write_table(folder / TABLE, {utt: " ".join(map(str, rows.flatten().tolist())) for utt, rows in tokens.items()})


def read_tokens(folder: Path) -> dict[str, np.ndarray]:
    """Read what `write_tokens` wrote: (text tokens, codebooks) of each utterance."""
    codebooks = len(read_json(folder / RECORD, "local/write_tokens.py")["codebook_sizes"])
    table = read_int_table(folder / TABLE, "local/write_tokens.py")
    return {utt: np.array(row).reshape(-1, codebooks) for utt, row in table.items()}


def check_record(folder: Path, system_dir: Path) -> dict[str, Any]:
    """Return the record of the tokens in a folder.

    Raises:
        RecipeError: they are another system's.
    """
    record = read_json(folder / RECORD, "local/write_tokens.py")
    if record["weights_sha256"] != sha256(system_dir / BEST):
        raise RecipeError(
            f"{folder / TABLE} holds tokens of another system than {system_dir} (its weights have another SHA-256); "
            "write them again with local/write_tokens.py"
        )
    return record


@dataclass(frozen=True)
class TokenFigures:
    """What the tokens of a set cost, and how its codebooks are used."""

    tokens_per_second: float
    bits_per_second: float  # each integer at the logarithm of its codebook's size
    entropy_per_second: float  # each integer at the entropy of how often the set has it, in bits
    used: list[float]  # of each codebook: the fraction of its entries that occur
    perplexity: list[float]  # of each codebook: two to the entropy


def token_figures(tokens: Mapping[str, np.ndarray], sizes: list[int], utt2dur: Path) -> TokenFigures:
    """Figures over the utterances of `tokens`.

    The entropy is that of the frequencies in this set, each codebook by itself: of a small set it comes out too small,
    and what one codebook tells of another is not taken off.

    Args:
        sizes: entries of each codebook.
        utt2dur: table of durations in seconds.

    Raises:
        RecipeError: a duration is missing.
    """
    durations = read_table(utt2dur, "stage 1")
    if missing := [utt for utt in tokens if utt not in durations]:
        raise RecipeError(f"{utt2dur} has no duration of {missing[0]}; run stage 1 again")
    seconds = sum(float(durations[utt]) for utt in tokens)
    rows = np.concatenate(list(tokens.values()))
    entropies, used = [], []
    for column, size in zip(rows.T, sizes, strict=True):
        counts = np.bincount(column, minlength=size)
        probability = counts[counts > 0] / counts.sum()
        entropies.append(float(-(probability * np.log2(probability)).sum()))
        used.append(float((counts > 0).mean()))
    rate = len(rows) / seconds
    return TokenFigures(
        tokens_per_second=rate,
        bits_per_second=rate * sum(map(math.log2, sizes)),
        entropy_per_second=rate * sum(entropies),
        used=used,
        perplexity=[2**entropy for entropy in entropies],
    )
