"""The kernel distance (KID) against its definition, its expectation, and real digits."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from darkroom.errors import DataError
from darkroom.metrics.kernel import (
    KernelDistance,
    kernel_difference,
    kernel_distance,
    kernel_floor,
    left_out_distances,
    subset_distances,
)

Rows = NDArray[np.float64]


def kernel(x: Rows, y: Rows) -> float:
    return float((x @ y / len(x) + 1) ** 3)


def brute_force(a: Rows, b: Rows) -> float:
    """The definition, pair by pair (Gretton et al. 2012, lemma 6)."""
    n, m = len(a), len(b)
    within_a = sum(kernel(a[i], a[j]) for i in range(n) for j in range(n) if i != j)
    within_b = sum(kernel(b[i], b[j]) for i in range(m) for j in range(m) if i != j)
    across = sum(kernel(x, y) for x in a for y in b)
    return within_a / (n * (n - 1)) + within_b / (m * (m - 1)) - 2 * across / (n * m)


def rows(n: int, dim: int, seed: int, shift: float = 0.0) -> Rows:
    return np.random.default_rng(seed).normal(shift, 1.0, (n, dim))


@pytest.mark.parametrize(("n", "m"), [(3, 3), (11, 7), (20, 33)])
@pytest.mark.parametrize("block_rows", [1, 4, 1024])
def test_equals_the_double_loop_whatever_the_blocks(n: int, m: int, block_rows: int) -> None:
    a, b = rows(n, 5, 1), rows(m, 5, 2, shift=0.5)
    distance = kernel_distance(a, b, block_rows=block_rows)
    assert distance.value == pytest.approx(brute_force(a, b), rel=1e-12)


def test_the_standard_error_is_the_jackknife_of_the_double_loop() -> None:
    a, b = rows(9, 4, 3), rows(6, 4, 4, shift=0.3)
    without_a = np.array([brute_force(np.delete(a, i, 0), b) for i in range(len(a))])
    without_b = np.array([brute_force(a, np.delete(b, i, 0)) for i in range(len(b))])
    expected = np.sqrt(8 * without_a.var() + 5 * without_b.var())
    assert kernel_distance(a, b).standard_error == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("is_paired", [True, False])
def test_the_error_of_a_difference_is_the_jackknife_of_the_double_loop(is_paired: bool) -> None:
    a, real = rows(8, 4, 3), rows(6, 4, 4, shift=0.3)
    other = a + rows(8, 4, 5) / 4

    def difference(one: Rows, another: Rows, held: Rows) -> float:
        return brute_force(one, held) - brute_force(another, held)

    def variance(values: list[float]) -> float:
        return (len(values) - 1) * float(np.var(values))

    def without(matrix: Rows, index: int) -> Rows:
        return np.delete(matrix, index, 0)

    expected = variance([difference(a, other, without(real, i)) for i in range(6)])
    if is_paired:
        expected += variance([difference(without(a, i), without(other, i), real) for i in range(8)])
    else:
        expected += variance([difference(without(a, i), other, real) for i in range(8)])
        expected += variance([difference(a, without(other, i), real) for i in range(8)])
    found = kernel_difference(
        left_out_distances(a, real), left_out_distances(other, real), is_paired=is_paired
    )
    assert found.value == pytest.approx(difference(a, other, real), rel=1e-9)
    assert found.standard_error == pytest.approx(np.sqrt(expected), rel=1e-9)


def test_is_symmetric_and_shrinks_to_nothing_for_the_same_distribution() -> None:
    a, b = rows(400, 6, 5), rows(300, 6, 6)
    forth, back = kernel_distance(a, b), kernel_distance(b, a)
    assert forth.value == pytest.approx(back.value, abs=1e-12)
    assert forth.standard_error == pytest.approx(back.standard_error)
    assert abs(forth.value) < 3 * forth.standard_error
    assert kernel_distance(a, b + 0.5).value > 10 * forth.standard_error


def test_is_unbiased_and_its_interval_covers() -> None:
    """Against the exact distance of two finite populations that the samples are drawn from."""
    random = np.random.default_rng(7)
    people_a, people_b = rows(500, 4, 8), rows(500, 4, 9, shift=0.25)
    every = [(people_a, people_a, 1), (people_b, people_b, 1), (people_a, people_b, -2)]
    true = sum(sign * ((x @ y.T / 4 + 1) ** 3).mean() for x, y, sign in every)
    draws = [
        kernel_distance(people_a[random.integers(500, size=60)],
                        people_b[random.integers(500, size=80)])
        for _ in range(300)
    ]  # fmt: skip
    values = np.array([draw.value for draw in draws])
    assert abs(values.mean() - true) < 3 * values.std() / np.sqrt(len(values))
    covered = np.mean([draw.interval(0.95).low <= true <= draw.interval(0.95).high
                       for draw in draws])  # fmt: skip
    assert 0.88 < covered <= 1.0


def test_memory_grows_with_the_rows_and_not_with_their_square() -> None:
    a, b = rows(6000, 8, 10), rows(6000, 8, 11)
    tracemalloc.start()
    try:
        kernel_distance(a, b)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 60 * 1024**2  # all kernels at once would be 288 MB each


def test_subsets_scatter_around_the_distance_of_all_pairs() -> None:
    a, b = rows(600, 5, 12), rows(500, 5, 13, shift=0.4)
    subsets = subset_distances(a, b, num_subsets=60, size=100, seed=1)
    assert (subsets.num_subsets, subsets.size) == (60, 100)
    assert subsets.mean == pytest.approx(kernel_distance(a, b).value, abs=subsets.std)
    assert subsets == subset_distances(a, b, num_subsets=60, size=100, seed=1)
    assert subset_distances(a[:50], b, num_subsets=2).size == 50


def test_the_floor_of_real_digits_is_near_nothing_and_damage_is_far_above(digits: Any) -> None:
    train = digits.train.pixels
    test = digits.test.pixels
    floor = kernel_floor(train, test, 300, num_draws=10)
    assert (floor.n, floor.num_draws) == (300, 10)
    assert abs(floor.value) < 5 * floor.spread
    whole = kernel_floor(train, test, 10**6)
    assert (whole.n, whole.num_draws) == (len(train), 1)
    assert whole.spread == kernel_distance(train, test).standard_error > 0
    noise = np.random.default_rng(0).uniform(0, 0.3, (300, train.shape[1]))
    damaged = kernel_distance((train[:300] + noise).clip(0, 1), test)
    assert damaged.interval().low > floor.value + 10 * floor.spread


@pytest.mark.parametrize(("n", "m"), [(2, 10), (10, 0)])
def test_too_few_rows_are_refused(n: int, m: int) -> None:
    with pytest.raises(DataError, match="at least 3"):
        kernel_distance(rows(n, 4, 0), rows(m, 4, 0))


def test_rows_of_two_spaces_are_refused() -> None:
    with pytest.raises(ValueError, match="4 and 5"):
        kernel_distance(rows(5, 4, 0), rows(5, 5, 0))


def test_an_interval_may_reach_below_zero() -> None:
    interval = KernelDistance(0.001, 0.01).interval(0.95)
    assert interval.low == pytest.approx(-0.0186, abs=1e-4)
    assert interval.high == pytest.approx(0.0206, abs=1e-4)
