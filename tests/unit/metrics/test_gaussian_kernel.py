"""CMMD is the estimate that its paper's code prints."""

from __future__ import annotations

import numpy as np
import pytest

from darkroom.errors import DataError
from darkroom.metrics.gaussian_kernel import gaussian_kernel_distance


def test_it_is_the_definition() -> None:
    random = np.random.default_rng(0)
    a, b = random.normal(0.2, 1, (30, 8)), random.normal(0, 1, (40, 8))
    x, y = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (a, b))

    def mean_kernel(p: np.ndarray[tuple[int, int]], q: np.ndarray[tuple[int, int]]) -> float:
        squares = np.square(p[:, None] - q[None]).sum(axis=2)
        return float(np.exp(-squares / (2 * 10.0**2)).mean())

    expected = 1000 * (mean_kernel(x, x) + mean_kernel(y, y) - 2 * mean_kernel(x, y))
    assert gaussian_kernel_distance(a, b) == pytest.approx(expected, rel=1e-9)
    assert gaussian_kernel_distance(a, a) == pytest.approx(0, abs=1e-9)


def test_lengths_do_not_matter_and_zeros_are_named() -> None:
    random = np.random.default_rng(0)
    a, b = random.normal(0.2, 1, (30, 8)), random.normal(0, 1, (40, 8))
    assert gaussian_kernel_distance(a * 7, b) == pytest.approx(gaussian_kernel_distance(a, b))
    with pytest.raises(DataError, match="a row of zeros"):
        gaussian_kernel_distance(np.zeros((3, 8)), b)
