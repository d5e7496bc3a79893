"""The kernel distance between two sets of feature vectors (KID), exact and without bias.

    MMD^2 = mean k(x, x') + mean k(y, y') - 2 mean k(x, y),   k(x, y) = (x . y / D + 1)^3

over pairs of distinct rows. Source: Gretton et al. 2012, lemma 6 (the unbiased estimate);
Binkowski et al. 2018 (KID: this kernel, on Inception features; printed as mean and standard
deviation over random subsets). Every pair enters here once, which is what the mean over subsets
tends to; the subsets are drawn besides. Being unbiased, it may be a little below 0.

The standard error is the two-sample jackknife (Arvesen 1969): leaving a row out costs one
subtraction once the rows' kernel sums are known. Kernels are computed a block of rows at a
time, so memory grows with the number of rows and not with its square; time is O(N^2 D).

Blocks are converted to float64 as they are taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from darkroom.errors import DataError
from darkroom.metrics.bootstrap import Interval
from darkroom.metrics.features import BLOCK_ROWS, Array, FeatureRows, blocks, feature_rows
from darkroom.metrics.floor import Floor

SUBSET_ROWS = 1000
"""Rows of each side in a subset, as in the paper; fewer where there are fewer."""
NUM_SUBSETS = 100
MIN_ROWS = 3
"""Of each side: leaving one out must leave a pair."""


@dataclass(frozen=True)
class KernelDistance:
    """An estimate of the squared distance with its standard error."""

    value: float
    standard_error: float

    def interval(self, level: float = 0.95) -> Interval:
        """The normal interval around the value; its low end may be below 0."""
        reach = NormalDist().inv_cdf(0.5 + level / 2) * self.standard_error
        return Interval(self.value - reach, self.value + reach, level)


@dataclass(frozen=True)
class SubsetDistances:
    """KID as the literature prints it: mean and standard deviation over random subsets."""

    mean: float
    std: float
    num_subsets: int
    size: int
    """Rows of each side in a subset."""


def kernel_distance(
    a: FeatureRows, b: FeatureRows, *, block_rows: int = BLOCK_ROWS
) -> KernelDistance:
    """The distance of feature rows a (N, D) and b (M, D), from all pairs.

    Errors: DataError for fewer than three rows on a side.
    """
    found = left_out_distances(a, b, block_rows=block_rows)
    variance = _jackknifed(found.without_a) + _jackknifed(found.without_b)
    return KernelDistance(found.value, float(np.sqrt(variance)))


@dataclass(frozen=True, eq=False)
class LeftOutDistances:
    """The distance, and what it is without each row in turn."""

    value: float
    without_a: Array
    """(N,)"""
    without_b: Array
    """(M,)"""


def left_out_distances(
    a: FeatureRows, b: FeatureRows, *, block_rows: int = BLOCK_ROWS
) -> LeftOutDistances:
    """The distance of a (N, D) and b (M, D), and that without row i, for every i of either side."""
    _check(a, b)
    n, m = len(a), len(b)
    within_a = _row_sums(a, a, block_rows) - _self_kernels(a)
    within_b = _row_sums(b, b, block_rows) - _self_kernels(b)
    across_a = _row_sums(a, b, block_rows)
    across_b = _row_sums(b, a, block_rows)
    total_a, total_b, total_across = within_a.sum(), within_b.sum(), across_a.sum()
    mean_a, mean_b = total_a / (n * (n - 1)), total_b / (m * (m - 1))
    value = mean_a + mean_b - 2 * total_across / (n * m)
    without_a = (
        (total_a - 2 * within_a) / ((n - 1) * (n - 2))
        + mean_b
        - 2 * (total_across - across_a) / ((n - 1) * m)
    )
    without_b = (
        mean_a
        + (total_b - 2 * within_b) / ((m - 1) * (m - 2))
        - 2 * (total_across - across_b) / (n * (m - 1))
    )
    return LeftOutDistances(float(value), without_a, without_b)


def kernel_difference(
    one: LeftOutDistances, other: LeftOutDistances, *, is_paired: bool
) -> KernelDistance:
    """The difference of two distances to the same rows b, with its standard error.

    A row of b is left out of both at once; is_paired: so is row i of the two sides a.
    """
    of_b = _jackknifed(one.without_b - other.without_b)
    of_a = (
        _jackknifed(one.without_a - other.without_a)
        if is_paired
        else _jackknifed(one.without_a) + _jackknifed(other.without_a)
    )
    return KernelDistance(one.value - other.value, float(np.sqrt(of_a + of_b)))


def _jackknifed(without: Array) -> float:
    """The variance of a figure by its values without each row in turn."""
    return float((len(without) - 1) * without.var())


def subset_distances(
    a: FeatureRows, b: FeatureRows, *, num_subsets: int = NUM_SUBSETS, size: int = SUBSET_ROWS,
    seed: int = 0,
) -> SubsetDistances:  # fmt: skip
    """Mean and standard deviation over subsets drawn without repetition from either side.

    Where a side has no more rows than a subset, that side is the same in all of them, and the
    deviation says nothing of it: read the standard error of `kernel_distance` instead.
    """
    _check(a, b)
    size = min(size, len(a), len(b))
    random = np.random.default_rng(seed)
    values = [
        kernel_distance(
            a[random.choice(len(a), size, replace=False)],
            b[random.choice(len(b), size, replace=False)],
        ).value
        for _ in range(num_subsets)
    ]
    return SubsetDistances(float(np.mean(values)), float(np.std(values)), num_subsets, size)


def kernel_floor(
    train: FeatureRows, test: FeatureRows, n: int, *, num_draws: int = 10, seed: int = 0
) -> Floor:
    """What n real training rows score against all test rows, averaged over draws: near 0.

    Where n reaches the number of training rows all are taken, once, and the spread is the
    standard error of that one figure.
    """
    size = min(n, len(train))
    if size == len(train):
        whole = kernel_distance(train, test)
        return Floor(whole.value, whole.standard_error, size, 1)
    random = np.random.default_rng(seed)
    values = [
        kernel_distance(train[random.permutation(len(train))[:size]], test).value
        for _ in range(num_draws)
    ]
    return Floor(float(np.mean(values)), float(np.std(values)), size, num_draws)


def _check(a: FeatureRows, b: FeatureRows) -> None:
    fewest = min(len(a), len(b))
    if fewest < MIN_ROWS:
        raise DataError("images", fewest, f"a kernel distance needs at least {MIN_ROWS}")
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"features: {a.shape[1]} and {b.shape[1]} dimensions")


def _row_sums(a: FeatureRows, b: FeatureRows, block_rows: int) -> Array:
    """Sums over b of k(a_i, b): (N,)."""
    sums = np.zeros(len(a))
    for first in range(0, len(a), block_rows):
        block = slice(first, first + block_rows)
        rows = np.asarray(a[block], np.float64)
        for other in range(0, len(b), block_rows):
            others = np.asarray(b[other : other + block_rows], np.float64)
            sums[block] += _kernel(rows @ others.T, rows.shape[1]).sum(1)
    return sums


def _self_kernels(rows: FeatureRows) -> Array:
    norms = [np.square(feature_rows(block)).sum(axis=1) for block in blocks(rows)]
    return _kernel(np.concatenate(norms), rows.shape[1])


def _kernel(products: Array, dim: int) -> Array:
    base = products / dim + 1.0
    kernels: Array = base * base * base  # many times faster than a power
    return kernels
