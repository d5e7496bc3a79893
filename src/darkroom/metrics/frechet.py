"""The Frechet distance between two sets of feature vectors, from streamed float64 moments.

    d^2 = |mu_1 - mu_2|^2 + tr(S_1) + tr(S_2) - 2 tr (S_1^1/2 S_2 S_1^1/2)^1/2

Source: Dowson & Landau 1982; Heusel et al. 2017 (FID, on Inception features). With S_i = A_i' A_i,
the last trace is the sum of the singular values of A_1 A_2': no matrix square root, no complex
numbers, and exact for the singular covariances of fewer samples than dimensions.

Assumes finite features. The estimate from n samples is too high by about 1/n times a constant
(`floor.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from darkroom.errors import DataError
from darkroom.metrics.features import Array, FeatureRows, blocks, feature_rows

UNBIASED_IMAGES = 10_000
IMAGES_PER_DIMENSION = 10
FEW_IMAGES = 1000
"""Below, a distance says more of the number of images than of them: neither headline nor gate."""


@dataclass(eq=False)
class Moments:
    """Count, mean and scatter of feature rows, gathered block by block in float64.

    Blocks enter through their own centred moments (Chan et al. 1983), so a large common offset
    costs no digits. The same blocks in the same order give the same bits.
    """

    dim: int
    count: int = 0
    mean: Array = field(init=False)
    """(dim,)"""
    scatter: Array = field(init=False)
    """(dim, dim): the sum of outer products of the deviations from the mean."""

    def __post_init__(self) -> None:
        self.mean = np.zeros(self.dim)
        self.scatter = np.zeros((self.dim, self.dim))

    def update(self, features: ArrayLike) -> None:
        """Add rows (B, dim). Errors: DataError where a feature is not finite."""
        rows = feature_rows(features)
        if rows.shape[1] != self.dim:
            raise ValueError(f"features: want (B, {self.dim}), got {rows.shape}")
        if not len(rows):
            return
        mean = rows.mean(axis=0)
        centred = rows - mean
        total = self.count + len(rows)
        delta = mean - self.mean
        self.scatter += centred.T @ centred
        self.scatter += np.outer(delta, delta) * (self.count * len(rows) / total)
        self.mean += delta * (len(rows) / total)
        self.count = total

    @property
    def covariance(self) -> Array:
        """(dim, dim), unbiased. Errors: DataError for fewer than two rows."""
        if self.count < 2:
            raise DataError("images", self.count, "a covariance needs at least 2")
        return self.scatter / (self.count - 1)


def moments_of(rows: FeatureRows, index: NDArray[np.int64] | None = None) -> Moments:
    """The moments of rows (N, D), or of those at `index`."""
    moments = Moments(rows.shape[1])
    for block in blocks(rows, index):
        moments.update(block)
    return moments


def frechet_distance(a: Moments, b: Moments) -> float:
    """The (squared) Frechet distance between the Gaussians of a and b, as FID reports it.

    Never negative. Errors: DataError for fewer than two rows on a side.
    """
    return gaussian_distance(
        a.mean, covariance_root(a.covariance), b.mean, covariance_root(b.covariance)
    )


def is_biased(n: int, dim: int) -> bool:
    """Whether a Frechet distance of n images in dim dimensions is mostly sampling bias.

    True below 10,000 images, the customary least for FID, or below ten images per dimension.
    """
    return n < UNBIASED_IMAGES or n < IMAGES_PER_DIMENSION * dim


def frechet_distance_of_rows(a: ArrayLike, b: ArrayLike) -> float:
    """The same distance from feature rows (N, D) held in memory; fast where N is below D."""
    rows_a, rows_b = feature_rows(a), feature_rows(b)
    return gaussian_distance(
        rows_a.mean(axis=0), rows_root(rows_a), rows_b.mean(axis=0), rows_root(rows_b)
    )


def frechet_distance_between(a: FeatureRows, b: FeatureRows) -> float:
    """The same distance, each side from whichever is smaller: its rows, or their moments."""
    return gaussian_distance(*gaussian_of(a), *gaussian_of(b))


def gaussian_of(rows: FeatureRows) -> tuple[Array, Array]:
    """Mean (D,) and root (K, D) of the covariance of rows (N, D), for `gaussian_distance`.

    Errors: DataError for fewer than two rows.
    """
    if len(rows) < rows.shape[1]:
        held = feature_rows(rows[np.arange(len(rows))])
        return held.mean(axis=0), rows_root(held)
    moments = moments_of(rows)
    return moments.mean, covariance_root(moments.covariance)


def gaussian_distance(mean_a: Array, root_a: Array, mean_b: Array, root_b: Array) -> float:
    """The distance from means (D,) and roots A (K, D) with A' A the covariance."""
    overlap = np.linalg.svd(root_a @ root_b.T, compute_uv=False).sum()
    variance = np.square(root_a).sum() + np.square(root_b).sum()
    distance = np.square(mean_a - mean_b).sum() + variance - 2.0 * overlap
    return max(0.0, float(distance))


def covariance_root(covariance: Array) -> Array:
    """A with A' A = covariance, through its eigenvalues; round-off below zero counts as zero."""
    values, vectors = np.linalg.eigh(covariance)
    root: Array = np.sqrt(np.clip(values, 0.0, None))[:, None] * vectors.T
    return root


def rows_root(rows: Array, weights: Array | None = None) -> Array:
    """A with A' A = the unbiased covariance of rows (N, D), each taken `weights` times.

    Errors: DataError for fewer than two rows.
    """
    if len(rows) < 2:
        raise DataError("images", len(rows), "a covariance needs at least 2")
    counts = np.ones(len(rows)) if weights is None else weights
    total = counts.sum()
    centred = rows - counts @ rows / total
    scaled = centred * np.sqrt(counts / (total - 1.0))[:, None]
    # R of a QR keeps A' A and is at most D rows tall.
    return np.asarray(np.linalg.qr(scaled, mode="r"))
