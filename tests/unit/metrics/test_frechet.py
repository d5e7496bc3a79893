"""The Frechet distance: known values, singular covariances, streaming."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from darkroom.errors import DataError
from darkroom.metrics.features import BLOCK_ROWS, ScaledRows
from darkroom.metrics.frechet import (
    Moments,
    covariance_root,
    frechet_distance,
    frechet_distance_of_rows,
    gaussian_distance,
    moments_of,
)

Rows = NDArray[np.float64]


def random_rows(count: int, dim: int, *, seed: int = 0) -> Rows:
    """Correlated rows."""
    random = np.random.default_rng(seed)
    return random.normal(size=(count, dim)) @ random.normal(size=(dim, dim)) + random.normal(
        size=dim
    )


def accumulate(*batches: Rows) -> Moments:
    accumulator = Moments(batches[0].shape[1])
    for batch in batches:
        accumulator.update(batch)
    return accumulator


def by_symmetric_eigenvalues(a: Rows, b: Rows) -> float:
    """tr (S1^1/2 S2 S1^1/2)^1/2 through the eigenvalues of the symmetric product."""
    mean_gap = a.mean(0) - b.mean(0)
    s1, s2 = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, vectors = np.linalg.eigh(s1)
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    overlap = np.sqrt(np.linalg.eigvalsh(root @ s2 @ root).clip(0)).sum()
    return float(mean_gap @ mean_gap + np.trace(s1 + s2) - 2 * overlap)


@pytest.mark.parametrize("dim", [1, 2, 16, 64])
def test_equals_the_formula_on_random_features(dim: int) -> None:
    a, b = random_rows(300, dim, seed=1), random_rows(200, dim, seed=2)
    a, b = a.reshape(300, dim), b.reshape(200, dim)
    expected = frechet_distance(accumulate(a), accumulate(b))
    assert frechet_distance_of_rows(a, b) == pytest.approx(expected, rel=1e-10)
    if dim > 1:
        assert expected == pytest.approx(by_symmetric_eigenvalues(a, b), rel=1e-9)


def test_equals_the_closed_form_of_axis_aligned_gaussians() -> None:
    mean_a, mean_b = np.array([0.0, 1.0, 2.0]), np.array([1.0, 1.0, 0.0])
    std_a, std_b = np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 0.0])
    distance = gaussian_distance(
        mean_a, covariance_root(np.diag(std_a**2)), mean_b, covariance_root(np.diag(std_b**2))
    )
    # |mu_1 - mu_2|^2 + sum (sigma_1 - sigma_2)^2 = 1 + 4 + 1 + 0 + 9
    assert distance == pytest.approx(15.0)


def test_a_shift_counts_its_squared_length() -> None:
    a = random_rows(100, 5)
    assert frechet_distance_of_rows(a, a + 2.0) == pytest.approx(5 * 4.0)


def test_a_scaling_counts_the_difference_of_deviations() -> None:
    a = random_rows(100, 5)
    a -= a.mean(axis=0)
    expected = np.trace(np.cov(a, rowvar=False)) * (3.0 - 1.0) ** 2
    assert frechet_distance_of_rows(a, 3.0 * a) == pytest.approx(expected)


@pytest.mark.parametrize(("count", "dim"), [(50, 8), (10, 64), (2, 3)])
def test_equal_sets_are_at_distance_zero(count: int, dim: int) -> None:
    a = random_rows(count, dim)
    scale = np.square(a - a.mean(0)).sum() / (count - 1)
    assert frechet_distance_of_rows(a, a[::-1]) <= 1e-12 * scale
    assert frechet_distance(accumulate(a), accumulate(a)) <= 1e-7 * scale


@pytest.mark.parametrize(("num_a", "num_b"), [(10, 10), (10, 500), (3, 2)])
def test_fewer_rows_than_dimensions_agree_with_the_eigenvalue_form(num_a: int, num_b: int) -> None:
    a, b = random_rows(num_a, 40, seed=3), random_rows(num_b, 40, seed=4)
    expected = by_symmetric_eigenvalues(a, b)
    assert frechet_distance_of_rows(a, b) == pytest.approx(expected, rel=1e-5)
    assert frechet_distance(accumulate(a), accumulate(b)) == pytest.approx(expected, rel=1e-5)


def test_is_symmetric() -> None:
    a, b = random_rows(90, 12, seed=5), random_rows(70, 12, seed=6)
    assert frechet_distance_of_rows(a, b) == pytest.approx(frechet_distance_of_rows(b, a))


def test_the_known_bias_of_two_samples_of_one_gaussian() -> None:
    # To first order in 1/n, white features of n rows a side give D (D + 1) / (2 n) from the
    # covariances and 2 D / n from the means.
    random, dim, n = np.random.default_rng(0), 16, 400
    distances = [
        frechet_distance_of_rows(random.normal(size=(n, dim)), random.normal(size=(n, dim)))
        for _ in range(20)
    ]
    expected = dim * (dim + 1) / (2 * n) + 2 * dim / n
    assert np.mean(distances) == pytest.approx(expected, rel=0.1)


finite = st.floats(-1e3, 1e3)
row_sets = st.integers(2, 30).flatmap(lambda n: arrays(np.float64, (n, 3), elements=finite))


@given(rows=row_sets, cuts=st.lists(st.integers(0, 30), max_size=4))
def test_batches_give_the_moments_of_the_whole(rows: Rows, cuts: list[int]) -> None:
    accumulator = accumulate(*np.split(rows, sorted(min(cut, len(rows)) for cut in cuts)))
    assert accumulator.count == len(rows)
    np.testing.assert_allclose(accumulator.mean, rows.mean(0), rtol=1e-9, atol=1e-9)
    expected = np.cov(rows, rowvar=False)
    np.testing.assert_allclose(accumulator.covariance, expected, rtol=1e-9, atol=1e-7)


def test_stored_rows_are_scaled_block_by_block() -> None:
    stored = np.random.default_rng(0).integers(0, 256, (2 * BLOCK_ROWS + 5, 6), dtype=np.uint8)
    moments = moments_of(ScaledRows(stored, 255.0))
    np.testing.assert_allclose(moments.mean, stored.mean(0) / 255, rtol=1e-12)
    expected = np.cov(stored / 255, rowvar=False)
    np.testing.assert_allclose(moments.covariance, expected, rtol=1e-9, atol=1e-12)
    some = np.array([3, 2 * BLOCK_ROWS, 7])
    np.testing.assert_allclose(
        moments_of(ScaledRows(stored, 255.0), some).mean, stored[some].mean(0) / 255
    )


def test_a_large_common_offset_costs_no_digits() -> None:
    rows = random_rows(1000, 4)
    far = accumulate(*np.array_split(rows + 1e6, 10))
    np.testing.assert_allclose(far.covariance, np.cov(rows, rowvar=False), rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_features_that_are_no_numbers_are_refused(bad: float) -> None:
    rows = random_rows(5, 2)
    rows[3, 1] = bad
    with pytest.raises(DataError, match="NaN or infinity"):
        accumulate(rows)


def test_a_single_row_has_no_covariance() -> None:
    with pytest.raises(DataError, match="at least 2"):
        frechet_distance(accumulate(random_rows(1, 2)), accumulate(random_rows(5, 2)))
    with pytest.raises(DataError, match="at least 2"):
        frechet_distance_of_rows(random_rows(1, 2), random_rows(5, 2))


@pytest.mark.parametrize("wrong", [np.zeros((3, 5)), np.zeros(4)])
def test_rows_of_another_shape_are_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="want"):
        Moments(4).update(wrong)
