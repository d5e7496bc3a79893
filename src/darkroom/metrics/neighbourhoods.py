"""Precision, recall, density, coverage: do two sets of features lie in each other's neighbourhoods?

A row's neighbourhood is the ball around it that reaches its k-th nearest other row of its own set.

    precision   share of generated rows in the ball of any real row         (fidelity)
    recall      share of real rows in the ball of any generated row         (variety)
    density     real balls that a generated row lies in, over k: mean       (fidelity)
    coverage    share of real balls that hold any generated row             (variety)

Source: Kynkaanniemi et al. 2019 (precision, recall), Naeem et al. 2020 (density, coverage). A ball
holds its surface (distance <= radius), as in the first paper and in torch-fidelity; the code
of the second has <, which differs for duplicates only.

Figures depend on both N: compare them at equal N. Distances are computed a block of rows at a time
in float64, so memory grows with N and not with its square; time is O(N^2 D).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from darkroom.errors import DataError
from darkroom.metrics.distances import squared_distances
from darkroom.metrics.features import Array, FeatureRows, blocks

_ROUND_OFF = 1e-12
"""Squared distance of rows that count as equal, as a share of the sum of their squared norms."""


@dataclass(frozen=True)
class Neighbourhoods:
    """The four figures. Only density may be above 1."""

    precision: float
    recall: float
    density: float
    coverage: float


def neighbourhoods(
    generated: FeatureRows, real: FeatureRows, *, num_neighbours: int
) -> Neighbourhoods:
    """generated: (N, D), real: (M, D). Errors: DataError for no more rows than neighbours."""
    reach_generated = squared_radii(generated, num_neighbours)
    reach_real = squared_radii(real, num_neighbours)
    num_balls = np.zeros(len(generated))
    is_recalled = np.zeros(len(real), bool)
    is_covered = np.zeros(len(real), bool)
    for at, rows in _located(generated):
        for other, references in _located(real):
            squares = squared_distances(rows, references, equal=_ROUND_OFF)
            in_real = squares <= reach_real[other]
            num_balls[at] += in_real.sum(axis=1)
            is_covered[other] |= in_real.any(axis=0)
            is_recalled[other] |= (squares <= reach_generated[at][:, None]).any(axis=0)
    return Neighbourhoods(
        precision=float((num_balls > 0).mean()),
        recall=float(is_recalled.mean()),
        density=float(num_balls.mean() / num_neighbours),
        coverage=float(is_covered.mean()),
    )


def squared_radii(rows: FeatureRows, num_neighbours: int) -> Array:
    """The squared distance of each row to its k-th nearest other: (N,).

    Errors: DataError for no more rows than neighbours.
    """
    if len(rows) <= num_neighbours:
        raise DataError(
            "images", len(rows), f"neighbourhoods of {num_neighbours} need more than that",
            "give more pictures, or lower num_neighbours",
        )  # fmt: skip
    radii = []
    for at, block in _located(rows):
        nearest = np.empty((len(block), 0))
        for other, references in _located(rows):
            squares = squared_distances(block, references, equal=_ROUND_OFF)
            if other == at:
                np.fill_diagonal(squares, np.inf)  # not its own neighbour
            nearest = np.concatenate([nearest, _smallest(squares, num_neighbours)], axis=1)
            nearest = _smallest(nearest, num_neighbours)
        radii.append(nearest.max(axis=1))
    return np.concatenate(radii)


def _smallest(values: Array, number: int) -> Array:
    """That many of each row, or all where it has fewer; in no order. Rows are reordered."""
    size = min(number, values.shape[1])
    values.partition(size - 1, axis=1)
    return values[:, :size]


def _located(rows: FeatureRows) -> Iterator[tuple[slice, Array]]:
    """Blocks and where they lie."""
    start = 0
    for block in blocks(rows):
        yield slice(start, start + len(block)), block
        start += len(block)
