"""K-means units of a Whisper encoder layer: the stand-in where CosyVoice's tokenizer is not to be had.

The mean of each group of frames (of two frames at 25 Hz) is replaced by the index of the nearest centroid, as in
HuBERT's discrete units (Hsu et al. 2021, arXiv 2106.07447). An utterance of n encoder frames (50 a second) has
ceil(n * rate / 50) units: a last group that is not full counts as one. Repeated units are kept.

The first layers carry the position embedding so strongly that their units tell the time since the utterance began
rather than the sound. Of tiny.en's layers, 200 units each on 100 utterances of LibriSpeech, the units of layers 0 and 1
share 4.9 bits with the position (in steps of 0.4 s), of layer 2 1.3, of layer 3 0.3, of layer 4 0.5, of `last` 4.2.
"""

from __future__ import annotations

import logging
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from threadpoolctl import threadpool_limits
from torch import Tensor
from whisper.model import Whisper

from taste.errors import RecipeError, Skipped
from taste.files import atomic_path, read_json, require, sha256, write_json
from taste.fixed_linear import FixedLinear
from taste.tables import read_table
from taste.units.speech import speech_batches
from taste.whisper.features import FRAMES_PER_SECOND, check_layers, encode
from taste.whisper.weights import load_whisper, whisper_record

logger = logging.getLogger(__name__)

CODEBOOK = "codebook.safetensors"
MINIBATCH = 4096  # frames
BLOCK = 2048  # frames whose products with the codebook stay in the cache
STARTS = 3  # k-means++ initialisations, of which the best is taken


class KMeansUnits:
    """Units from a codebook that `train_kmeans` has written."""

    def __init__(self, units_dir: Path, pretrained_dir: Path, device: str) -> None:
        """Load codebook and Whisper model.

        Raises:
            RecipeError: one is missing or damaged, or the model's weights are not those of the codebook.
        """
        self.record = read_json(units_dir / "units.json", "stage 5 (local/train_kmeans.py)")
        path = require(units_dir / CODEBOOK, "stage 5 (local/train_kmeans.py)")
        if sha256(path) != self.record["codebook_sha256"]:
            raise RecipeError(f"{path} is not the codebook that {units_dir / 'units.json'} tells of; train it again")
        try:
            self.codebook = load_file(path, device)["codebook"]  # (K, dim)
        except (SafetensorError, KeyError) as error:
            raise RecipeError(f"{path} is damaged ({error}); train it again (stage 5)") from error
        self.model = load_whisper(self.record["model"], pretrained_dir).to(device)
        found = whisper_record(self.record["model"], pretrained_dir)["sha256"]
        if found != self.record["weights_sha256"]:
            raise RecipeError(
                f"the weights of Whisper {self.record['model']} in {pretrained_dir} (SHA-256 {found}) are not those "
                f"that {path} was fitted with ({self.record['weights_sha256']}); fit it again (stage 5)"
            )

    def encode(self, samples: list[np.ndarray]) -> list[np.ndarray]:
        """Units of a batch, see `taste.units.backend.UnitBackend.encode`."""
        frames = grouped_frames(self.model, samples, self.record["layer"], self.record["rate"])
        units = nearest(torch.cat(frames).to(self.codebook.device), self.codebook)
        return [row.numpy() for row in units.cpu().split([len(matrix) for matrix in frames])]


def grouped_frames(model: Whisper, samples: list[np.ndarray], layer: str, rate: int) -> list[Tensor]:
    """Encoder frames of a batch at `rate` a second: means of groups of frames, the last of which may be smaller.

    Returns:
        For each utterance (ceil(frames * rate / 50), dim), float32.
    """
    size = FRAMES_PER_SECOND // rate
    matrices = [torch.from_numpy(layers[layer]) for layers in encode(model, samples, [layer])]
    return [torch.stack([group.mean(dim=0) for group in matrix.split(size)]) for matrix in matrices]


@torch.inference_mode()
def nearest(frames: Tensor, codebook: Tensor) -> Tensor:
    """Index of the nearest row of `codebook` (K, dim) for each row of `frames` (n, dim), Euclidean: (n,) int64."""
    # |x - c|^2 without |x|^2, which is the same for all c, is least where x c - |c|^2 / 2 is greatest
    closeness = FixedLinear(codebook, codebook.square().sum(dim=1) / -2, codebook.dtype)
    if codebook.is_cuda:
        return closeness(frames).argmax(dim=1)
    units = torch.empty(len(frames), dtype=torch.long)
    for block, found in zip(frames.split(BLOCK), units.split(BLOCK), strict=True):
        np.argmax(closeness(block).numpy(), axis=1, out=found.numpy())  # faster than torch's
    return units


def train_kmeans(
    data_dir: str | Path,
    units_dir: str | Path,
    model: str,
    layer: str,
    K: int,
    rate: int,
    frames: int,
    seed: int,
    pretrained_dir: str | Path,
    device: str = "cpu",
    allow_pipes: bool = False,
) -> dict[str, Any]:
    """Fit a codebook on a sample of the training data and write `codebook.safetensors` and `units.json`.

    Args:
        data_dir: the training data and nothing else: units must not have seen the test sets.
        units_dir: where both files are written.
        model: name of the Whisper model.
        layer: encoder layer, `0` to `N` or `last`.
        K: number of units.
        rate: units a second: 50, or 50 divided by a whole number.
        frames: frames (at `rate`) to fit on, from utterances chosen by `seed`.
        seed: of that choice and of k-means.
        pretrained_dir: holds Whisper's weights.
        device: `cpu` or `cuda`, for Whisper.
        allow_pipes: whether commands in `wav.scp` may be run.

    Returns:
        The record written to `units.json`.

    Raises:
        RecipeError: settings that do not fit, or fewer frames than units.
    """
    from sklearn.cluster import MiniBatchKMeans  # seconds to import, which those who only apply units need not spend

    data_dir, units_dir = Path(data_dir), Path(units_dir)
    if rate < 1 or FRAMES_PER_SECOND % rate:
        raise RecipeError(f"--rate {rate}: the encoder's {FRAMES_PER_SECOND} frames a second are no multiple of it")
    if K < 1:
        raise RecipeError(f"--K {K}: there must be at least one unit")
    whisper = load_whisper(model, pretrained_dir).to(device)
    check_layers([layer], len(whisper.encoder.blocks))
    sample = _sample_frames(data_dir, whisper, layer, rate, frames, seed, allow_pipes)
    if len(sample) < K:
        raise RecipeError(f"{data_dir} has {len(sample)} frames at {rate} a second, fewer than K = {K} units")
    logger.info("k-means: %d units of %d frames (%d dimensions)", K, *sample.shape)
    kmeans = MiniBatchKMeans(K, batch_size=MINIBATCH, n_init=STARTS, random_state=seed)
    with threadpool_limits(1):  # sums over several threads come out in another order each time
        kmeans.fit(sample)
    with atomic_path(units_dir / CODEBOOK) as partial:
        save_file({"codebook": torch.from_numpy(kmeans.cluster_centers_.astype(np.float32))}, partial)
    record = {
        "backend": "kmeans",
        "model": model,
        "weights_sha256": whisper_record(model, pretrained_dir)["sha256"],
        "layer": layer,
        "K": K,
        "rate": rate,
        "codebook_sha256": sha256(units_dir / CODEBOOK),
        "frames": len(sample),
        "seed": seed,
    }
    write_json(units_dir / "units.json", record)
    return record


def _sample_frames(
    data_dir: Path, model: Whisper, layer: str, rate: int, frames: int, seed: int, allow_pipes: bool
) -> np.ndarray:
    """(at most frames, dim) frames of utterances in an order given by `seed`."""
    sources = list(read_table(data_dir / "wav.scp", "stage 1").items())
    random.Random(seed).shuffle(sources)
    skipped = Skipped("k-means")
    matrices: list[Tensor] = []
    found = 0
    for batch in speech_batches(dict(sources), "frames for k-means", allow_pipes, skipped):
        matrices += grouped_frames(model, [samples for _, samples in batch], layer, rate)
        found = sum(map(len, matrices))
        if found >= frames:
            break
    skipped.report(len(skipped) + len(matrices))
    return torch.cat(matrices)[:frames].numpy()
