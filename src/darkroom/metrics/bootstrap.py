"""Percentile bootstrap intervals: how much a figure would move with other images.

Source: Efron & Tibshirani 1993, chapter 13. Seeded, so a figure's interval can be repeated.
Assumes independent images. Leaves the figure itself, and whether its n suffices, to the caller.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from darkroom.errors import DataError
from darkroom.metrics.features import Array, FeatureRows, feature_rows
from darkroom.metrics.frechet import frechet_distance_of_rows, gaussian_distance, rows_root


@dataclass(frozen=True)
class Interval:
    """Low and high end, and the share of repetitions it is meant to cover."""

    low: float
    high: float
    level: float = 0.95


def mean_interval(
    values: ArrayLike, *, num_resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> Interval:
    """The interval of the mean of `values` (N,).

    Errors: DataError where there are no values.
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or len(sample) < 1:
        raise DataError("values", sample.shape, "an interval needs at least one value")
    weights = _resample_counts(len(sample), num_resamples, np.random.default_rng(seed))
    return _percentiles(weights @ sample / len(sample), level)


def proportion_interval(
    successes: ArrayLike, *, num_resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> Interval:
    """The interval of a share, from N booleans.

    Where all agree every resample does too, and the bootstrap would claim certainty; there the
    end that is open comes from the exact binomial interval (Clopper & Pearson 1934).
    """
    sample = np.asarray(successes, dtype=np.float64)
    interval = mean_interval(sample, num_resamples=num_resamples, level=level, seed=seed)
    open_end = ((1.0 - level) / 2.0) ** (1.0 / len(sample))
    if sample.all():
        return Interval(open_end, 1.0, level)
    if not sample.any():
        return Interval(0.0, 1.0 - open_end, level)
    return interval


def mean_difference_interval(
    a: ArrayLike, b: ArrayLike, *, is_paired: bool, num_resamples: int = 1000, level: float = 0.95,
    seed: int = 0,
) -> Interval:  # fmt: skip
    """The interval of mean(a) - mean(b), of a (N,) and b (M,).

    is_paired: a_i and b_i belong together (N = M), so that pairs are resampled.
    Errors: DataError where a side has no values.
    """
    one, other = (np.asarray(values, dtype=np.float64) for values in (a, b))
    if is_paired:
        return mean_interval(one - other, num_resamples=num_resamples, level=level, seed=seed)
    if min(len(one), len(other)) < 1:
        raise DataError("values", 0, "an interval needs at least one value on both sides")
    random = np.random.default_rng(seed)
    means = [
        _resample_counts(len(values), num_resamples, random) @ values / len(values)
        for values in (one, other)
    ]
    return _percentiles(means[0] - means[1], level)


def proportion_difference_interval(
    a: ArrayLike, b: ArrayLike, *, is_paired: bool, num_resamples: int = 1000, level: float = 0.95,
    seed: int = 0,
) -> Interval:  # fmt: skip
    """The interval of the difference of two shares, from N and M booleans.

    Where no resample can differ (all alike) the bootstrap would claim certainty; there the ends are
    those of the exact binomial interval of a share of which none was seen.
    """
    interval = mean_difference_interval(
        a, b, is_paired=is_paired, num_resamples=num_resamples, level=level, seed=seed
    )
    if interval.low < interval.high:
        return interval
    fewest = min(np.size(a), np.size(b))
    reach = 1.0 - ((1.0 - level) / 2.0) ** (1.0 / fewest)
    return Interval(interval.low - reach, interval.high + reach, level)


def frechet_interval(
    a: ArrayLike | FeatureRows,
    b: ArrayLike | FeatureRows,
    *,
    num_resamples: int = 200,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The interval of the Frechet distance between feature rows a (N, D) and b (M, D).

    Both sides are resampled. A resample holds fewer distinct rows, so its distance is too high
    by about as much again as the estimate itself; the resamples are therefore centred on the
    estimate, and show how far it would scatter at the same N and M, bias included.
    """
    rows_a, rows_b = feature_rows(a), feature_rows(b)
    estimate = frechet_distance_of_rows(rows_a, rows_b)
    random = np.random.default_rng(seed)
    counts_a = _resample_counts(len(rows_a), num_resamples, random)
    counts_b = _resample_counts(len(rows_b), num_resamples, random)
    distances = np.array(
        [
            _weighted_distance(rows_a, weights_a, rows_b, weights_b)
            for weights_a, weights_b in zip(counts_a, counts_b, strict=True)
        ]
    )
    interval = _percentiles(distances - distances.mean() + estimate, level)
    return Interval(max(0.0, interval.low), interval.high, level)


def _weighted_distance(a: Array, weights_a: Array, b: Array, weights_b: Array) -> float:
    return gaussian_distance(
        weights_a @ a / len(a), rows_root(a, weights_a), weights_b @ b / len(b),
        rows_root(b, weights_b),
    )  # fmt: skip


def _resample_counts(size: int, num_resamples: int, random: np.random.Generator) -> Array:
    """How often each of `size` items is drawn in each resample: (num_resamples, size)."""
    return random.multinomial(size, np.full(size, 1.0 / size), num_resamples).astype(np.float64)


def _percentiles(values: Array, level: float) -> Interval:
    tail = 50.0 * (1.0 - level)
    low, high = np.percentile(values, [tail, 100.0 - tail])
    return Interval(float(low), float(high), level)
