"""Squared Euclidean distances between rows, with equal rows at exactly 0."""

from __future__ import annotations

import numpy as np

from darkroom.metrics.features import Array


def squared_distances(a: Array, b: Array, *, equal: float) -> Array:
    """Between all rows of a (N, D) and b (M, D): (N, M).

    equal: below this share of the sum of their squared norms two rows are equal, as
    |a|^2 + |b|^2 - 2ab rounds.
    """
    norms = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1)
    squares: Array = a @ b.T
    # In place: these two arrays are the most that a figure over many pictures holds.
    squares *= -2.0
    squares += norms
    norms *= equal
    squares[squares < norms] = 0.0
    return squares
