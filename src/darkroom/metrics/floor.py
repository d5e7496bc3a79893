"""The floor of a Frechet distance: real images against real images at the same sample size.

The distance between two samples of one distribution is not 0 but falls as 1/n, so a generated
set can only be judged beside what real images score in its place. Assumes that the training
split and the held-out split come from one distribution; leaves features to the caller.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from darkroom.metrics.features import FeatureRows
from darkroom.metrics.frechet import gaussian_distance, gaussian_of
from darkroom.metrics.jackknife import SelectedRows


@dataclass(frozen=True)
class Floor:
    """A floor and how it was drawn."""

    value: float
    """Mean over the draws."""
    spread: float
    """Standard deviation over the draws; for one, what `num_draws` 1 leaves to be said: 0 for a
    Frechet distance, the standard error for a kernel distance."""
    n: int
    """Real training images per draw: fewer than asked where there are not as many."""
    num_draws: int


def frechet_floor(
    train: FeatureRows, test: FeatureRows, n: int, *, num_draws: int = 10, seed: int = 0
) -> Floor:
    """The distance of n training rows (drawn without repetition) to all test rows, averaged.

    train: (N, D), test: (M, D). Where n reaches N, all rows are taken, once; the floor then
    stands on fewer images than the figure and is a little too high.
    """
    held_out = gaussian_of(test)
    random = np.random.default_rng(seed)
    size = min(n, len(train))
    draws = 1 if size == len(train) else num_draws
    drawn = (SelectedRows(train, random.permutation(len(train))[:size]) for _ in range(draws))
    values = [gaussian_distance(*gaussian_of(rows), *held_out) for rows in drawn]
    return Floor(float(np.mean(values)), float(np.std(values)), size, draws)
