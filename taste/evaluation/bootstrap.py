"""Intervals over utterances."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.stats import bootstrap

RESAMPLES = 10_000


def bootstrap_of_sums(
    columns: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], seed: int
) -> dict[str, float]:
    """A figure that is reckoned from sums over utterances, with the interval that drawing utterances anew gives it.

    Args:
        columns: (utts, n), what is summed up.
        statistic: (…, n) sums -> (…); where it compares two systems, both are in the columns, so that it is paired.

    Returns:
        `difference`, the figure; the 95 % interval's ends `low` and `high` (percentiles), NaN of one utterance alone;
        and `utts`.
    """
    difference = float(statistic(columns.sum(axis=0)))
    if len(columns) == 1:
        return {"difference": difference, "low": math.nan, "high": math.nan, "utts": 1}
    interval = bootstrap(
        (np.arange(len(columns)),), lambda index, axis=-1: statistic(columns[index].sum(axis=axis - 1)),
        vectorized=True, n_resamples=RESAMPLES, method="percentile", rng=np.random.default_rng(seed), batch=1000,
    ).confidence_interval  # fmt: skip
    return {
        "difference": difference,
        "low": float(interval.low),
        "high": float(interval.high),
        "utts": len(columns),
    }
