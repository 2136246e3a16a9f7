"""K-means units of an hour of frames: ours and scikit-learn's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from taste.units.kmeans import nearest

# egs/librispeech's: 200 units, 25 a second, of a layer of Whisper tiny.en
UNITS, UNITS_PER_SECOND, DIM = 200, 25, 384
SPREAD = 2.0  # standard deviation of the frames about their centroid; that of the centroids is 1


def ours(seconds: float) -> Callable[[], float]:
    """`taste.units.kmeans.nearest`."""
    frames, codebook = (torch.from_numpy(array) for array in frames_and_codebook(seconds))
    return _work(lambda: nearest(frames, codebook), len(frames))


def scikit_learn(seconds: float) -> Callable[[], float]:
    """`KMeans.predict`."""
    frames, codebook = frames_and_codebook(seconds)
    kmeans = _fitted(codebook)
    return _work(lambda: kmeans.predict(frames), len(frames))


def frames_and_codebook(seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """(n, DIM) frames of that much speech about the rows of a (UNITS, DIM) codebook; float32, the same each time."""
    random = np.random.default_rng(0)
    codebook = random.standard_normal((UNITS, DIM), dtype=np.float32)
    count = round(seconds * UNITS_PER_SECOND)
    frames = random.standard_normal((count, DIM), dtype=np.float32) * SPREAD
    return frames + codebook[random.integers(UNITS, size=count)], codebook


def _fitted(codebook: np.ndarray) -> KMeans:
    threadpool_limits(torch.get_num_threads())  # scikit-learn's own threads are others than torch's
    kmeans = KMeans(UNITS, init=codebook, n_init=1, max_iter=1).fit(codebook)
    kmeans.cluster_centers_ = codebook
    return kmeans


def _work(assign: Callable[[], object], frames: int) -> Callable[[], float]:
    def work() -> float:
        assign()
        return 2 * frames * UNITS * DIM

    return work
