"""Is the model returning its training images? Nearest neighbours in pixel space.

An honest generated image is about as far from the training set as a held-out real image is; a
copied one is much nearer. The held-out distances are therefore the yardstick, not a constant.
Traps: a training set augmented after the comparison set was taken hides copies; a near-duplicate
between the real splits makes copying look normal; and pixel distance does not see a copy that
is shifted or recoloured (who wants mirrored ones seen gives the mirror images' distances too).

Assumes images of one size as rows of grey levels (whole numbers, 0 to 255). Distances are Euclidean
on pixels scaled to [0, 1], exact (integers below 2^53), so an exact copy is at distance 0 and
nothing else is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from darkroom.errors import DataError
from darkroom.metrics.distances import squared_distances
from darkroom.metrics.features import FeatureRows, blocks

NEAR_PERCENTILE = 1.0
MAX_NEAR_SHARE = 0.05
MAX_EXCESS_COPIES = 0.01
MIN_MEDIAN_RATIO = 0.5
MIN_IMAGES = 20
_EQUAL_ROWS = 1e-9
"""Squared distance of rows that count as equal, as a share of the sum of their squared norms."""


@dataclass(frozen=True)
class Memorisation:
    """The verdict, and the figures it stands on."""

    memorising: bool
    decided: bool
    """False where a side has fewer than MIN_IMAGES; `memorising` is False then."""
    reason: str
    """One sentence."""
    figures: NeighbourFigures


@dataclass(frozen=True)
class NeighbourFigures:
    """How near generated and held-out real images lie to the training set."""

    num_generated: int
    num_test: int
    median_generated: float
    """Median distance of a generated image to its nearest training image."""
    median_test: float
    """The same of a held-out real image."""
    near_threshold: float
    """The NEAR_PERCENTILE-th percentile of the held-out distances."""
    near_share: float
    """Share of generated images nearer than that; about NEAR_PERCENTILE % is expected."""
    copies_share: float
    """Share of generated images that equal a training image in every pixel."""
    test_copies_share: float
    """The same of held-out images: above 0, the real splits overlap."""

    @property
    def median_ratio(self) -> float:
        """Generated over held-out: about 1 for an honest model."""
        if self.median_test == 0:
            return 1.0 if self.median_generated == 0 else math.inf
        return self.median_generated / self.median_test


def nearest_neighbour_distances(
    queries: FeatureRows, references: FeatureRows
) -> NDArray[np.float64]:
    """For each query (N, D) its distance to the nearest reference (M, D): (N,).

    Both are taken by blocks, so memory does not grow with their product.
    """
    if len(references) < 1 or queries.shape[1:] != references.shape[1:]:
        shapes = f"{tuple(queries.shape)} and {tuple(references.shape)}"
        raise DataError("images", shapes, "want two sets of one image size, neither empty")
    smallest = [_smallest_squares(block, references) for block in blocks(queries)]
    return np.asarray(np.sqrt(np.concatenate([np.empty(0), *smallest])) / 255.0)


def nearest_row_distances(queries: FeatureRows, references: FeatureRows) -> NDArray[np.float64]:
    """The same of rows of any features, in their unit: (N,). A row of float32 that differs by its
    last digits, as a network gives them for other batches, counts as equal."""
    smallest = []
    for rows in blocks(queries):
        nearest = np.full(len(rows), np.inf)
        for block in blocks(references):
            squares = squared_distances(rows, block, equal=_EQUAL_ROWS)
            np.minimum(nearest, squares.min(axis=1), out=nearest)
        smallest.append(nearest)
    return np.asarray(np.sqrt(np.concatenate([np.empty(0), *smallest])))


def memorisation(
    generated_to_train: NDArray[np.float64], test_to_train: NDArray[np.float64]
) -> Memorisation:
    """Judge generated images by their distances to the training set, against held-out ones'.

    Flagged is any of: more exact copies than held-out images have, by MAX_EXCESS_COPIES; more
    than MAX_NEAR_SHARE (and two standard errors) of the images nearer than the nearest
    NEAR_PERCENTILE % of held-out ones; a median below MIN_MEDIAN_RATIO of theirs.
    Errors: DataError where a side is empty.
    """
    figures = _figures(generated_to_train, test_to_train)
    if min(figures.num_generated, figures.num_test) < MIN_IMAGES:
        reason = f"not decided: needs {MIN_IMAGES} generated and {MIN_IMAGES} held-out images"
        return Memorisation(memorising=False, decided=False, reason=reason, figures=figures)
    faults = _faults(figures)
    reason = (
        "; ".join(faults) or "at least as far from the training images as held-out real images are"
    )
    return Memorisation(memorising=bool(faults), decided=True, reason=reason, figures=figures)


def _figures(generated: NDArray[np.float64], test: NDArray[np.float64]) -> NeighbourFigures:
    if min(len(generated), len(test)) < 1:
        raise DataError("images", 0, "memorisation needs generated and held-out images")
    near_threshold = float(np.percentile(test, NEAR_PERCENTILE))
    return NeighbourFigures(
        num_generated=len(generated),
        num_test=len(test),
        median_generated=float(np.median(generated)),
        median_test=float(np.median(test)),
        near_threshold=near_threshold,
        near_share=float((generated < near_threshold).mean()),
        copies_share=float((generated == 0).mean()),
        test_copies_share=float((test == 0).mean()),
    )


def _faults(figures: NeighbourFigures) -> list[str]:
    faults = []
    if figures.copies_share > figures.test_copies_share + MAX_EXCESS_COPIES:
        faults.append(f"{figures.copies_share:.1%} of the images are exact training images")
    standard_error = math.sqrt(MAX_NEAR_SHARE * (1 - MAX_NEAR_SHARE) / figures.num_generated)
    if figures.near_share > MAX_NEAR_SHARE + 2 * standard_error:
        faults.append(
            f"{figures.near_share:.1%} are nearer to a training image than "
            f"{100 - NEAR_PERCENTILE:g}% of held-out real images"
        )
    if figures.median_ratio < MIN_MEDIAN_RATIO:
        faults.append(
            f"the median distance to a training image is {figures.median_ratio:.2f} of that of "
            "held-out real images"
        )
    return faults


def _smallest_squares(queries: NDArray[np.float64], references: FeatureRows) -> NDArray[np.float64]:
    """Squared distance to the nearest reference, in grey levels."""
    norms = np.square(queries).sum(axis=1)
    smallest = np.full(len(queries), np.inf)
    for block in blocks(references):
        # Whole numbers below 2^53 throughout: a copy comes out at exactly 0.
        squares = norms[:, None] + np.square(block).sum(axis=1) - 2.0 * (queries @ block.T)
        np.minimum(smallest, squares.min(axis=1), out=smallest)
    return smallest
