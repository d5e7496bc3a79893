"""CMMD: the squared maximum mean discrepancy of unit vectors under a Gaussian kernel, times 1,000.

    MMD^2 = mean k(x, x') + mean k(y, y') - 2 mean k(x, y),   k(x, y) = exp(-|x - y|^2 / (2 s^2))

with s = 10, over all pairs, those of a row with itself included. Source: Jayasumana et al. 2024,
whose code takes CLIP's embeddings of pictures (ViT-L/14 at 336 pixels), scales them to length one,
and prints this biased estimate, which is never negative. Of two samples of one distribution it
is about 1000 (1/N + 1/M) mean (1 - k), at most 10 (1/N + 1/M): 0.02 at N = M = 1,000.

Kernels are computed a block of rows at a time; time is O(N^2 D).
"""

from __future__ import annotations

import numpy as np

from darkroom.errors import DataError
from darkroom.metrics.features import Array, FeatureRows, blocks

SIGMA = 10.0
SCALE = 1000.0


def gaussian_kernel_distance(a: FeatureRows, b: FeatureRows) -> float:
    """CMMD of feature rows a (N, D) and b (M, D), which are scaled to unit length here.

    Errors: DataError for a side without rows, or a row of zeros.
    """
    if min(len(a), len(b)) < 1:
        raise DataError("images", 0, "a distance needs pictures on both sides")
    # 1 - k keeps the digits that means of k, all near 1, would lose in their difference.
    return SCALE * (2 * _mean_gap(a, b) - _mean_gap(a, a) - _mean_gap(b, b))


def _mean_gap(a: FeatureRows, b: FeatureRows) -> float:
    """The mean of 1 - k over all pairs."""
    total = 0.0
    for rows in blocks(a):
        left = _unit(rows)
        for others in blocks(b):
            squares = np.clip(2.0 - 2.0 * (left @ _unit(others).T), 0.0, None)
            total -= float(np.expm1(-squares / (2 * SIGMA**2)).sum())
    return total / (len(a) * len(b))


def _unit(rows: Array) -> Array:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if not lengths.all():
        raise DataError("features", None, "hold a row of zeros", "check the images")
    unit: Array = rows / lengths
    return unit
