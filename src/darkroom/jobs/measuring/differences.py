"""How far one set's figure lies from another's, with the interval of the difference.

Both sets are compared with the same real pictures, so what a figure owes to these is left out of
both at once. Where the sets are paired (same seeds, classes and prompts), so is each picture with
its like: two models that draw the same from one seed differ by less than either scatters.

    distances of moments, neighbourhoods, CMMD   block jackknife, blocks left out of all sets
    kernel distance                              jackknife, row by row
    shares, scores and pairs                     bootstrap of the pictures, or of the pairs
    memorisation                                 bootstrap, the test pictures resampled with them
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from darkroom.jobs.artifacts.evaluation import Difference, Metric
from darkroom.jobs.measuring.comparison import Comparison, PictureSet
from darkroom.jobs.measuring.config import MeasuringConfig
from darkroom.jobs.measuring.measures import limits_for, nearest_distances, recognised
from darkroom.jobs.measuring.names import LPIPS, NEARNESS, NEIGHBOURHOODS, larger_is_better
from darkroom.jobs.measuring.set_measures import clip_scores, pair_distances
from darkroom.metrics.bootstrap import (
    Interval,
    mean_difference_interval,
    proportion_difference_interval,
)
from darkroom.metrics.features import FeatureRows
from darkroom.metrics.frechet import frechet_distance_between
from darkroom.metrics.gaussian_kernel import gaussian_kernel_distance
from darkroom.metrics.jackknife import block_jackknife
from darkroom.metrics.kernel import kernel_difference, left_out_distances
from darkroom.metrics.neighbourhoods import neighbourhoods

_SMALLEST = 1e-3
"""A resample's median distance may be 0."""


@dataclass(frozen=True)
class Pair:
    """A figure's difference between two sets, and what it was made of."""

    this: Comparison
    other: Comparison
    column: str
    """Of the features."""
    value: float
    settings: MeasuringConfig
    seed: int

    @property
    def is_paired(self) -> bool:
        """Row by row the sets belong together."""
        return self.this.is_paired

    @property
    def sides(self) -> tuple[Comparison, Comparison]:
        """The first set and the second."""
        return self.this, self.other


Around = Callable[[Pair], Interval]
"""The interval of such a difference."""


def difference_of(
    name: str,
    comparison: Comparison,
    column: str,
    figures: tuple[Metric, Metric],
    settings: MeasuringConfig,
    *,
    seed: int,
) -> Difference:
    """The figure `name` of the first set less that of the second, by the features `column`."""
    if comparison.against is None:
        raise ValueError("there is no second set")
    value = figures[0].value - figures[1].value
    words, around = _AROUND[name.partition("_")[0]]
    found = around(Pair(comparison, comparison.against, column, value, settings, seed))
    return Difference(
        value=value,
        n=min(figure.n for figure in figures),
        lower=found.low,
        upper=found.high,
        is_paired=comparison.is_paired,
        better=_better(name, found),
        interval=f"{words} {'of pairs' if comparison.is_paired else 'of both sets'}",
    )


def _better(name: str, found: Interval) -> Literal["this", "other"] | None:
    if name.startswith((NEARNESS, LPIPS)) or found.low <= 0 <= found.high:
        return None
    return "this" if (found.low > 0) == larger_is_better(name) else "other"


Distances = Callable[[FeatureRows, FeatureRows, MeasuringConfig], Sequence[float]]


def _frechet(rows: FeatureRows, real: FeatureRows, _: MeasuringConfig) -> Sequence[float]:
    return (frechet_distance_between(rows, real),)


def _cmmd(rows: FeatureRows, real: FeatureRows, _: MeasuringConfig) -> Sequence[float]:
    return (gaussian_kernel_distance(rows, real),)


def _neighbours(rows: FeatureRows, real: FeatureRows, config: MeasuringConfig) -> Sequence[float]:
    return astuple(neighbourhoods(rows, real, num_neighbours=config.num_neighbours))


def _by_blocks(key: str, distances: Distances, *, at: int = 0, num_figures: int = 1) -> Around:
    """Of `num_figures` that are computed together the one at `at`; the others are kept."""

    def around(pair: Pair) -> Interval:
        def differences(a: FeatureRows, b: FeatureRows, real: FeatureRows) -> Sequence[float]:
            this, other = (distances(rows, real, pair.settings) for rows in (a, b))
            return [one - another for one, another in zip(this, other, strict=True)]

        def around_zero() -> list[Interval]:
            drawn = [side.generated.features[pair.column] for side in pair.sides]
            with limits_for(drawn[0].shape[1]):
                return block_jackknife(
                    differences,
                    (*drawn, pair.this.test.features[pair.column]),
                    [0.0] * num_figures,
                    level=pair.settings.confidence,
                    seed=pair.seed,
                    alike=(0, 0, 2) if pair.is_paired else (0, 1, 2),
                )

        found = pair.this.once(f"difference of {key} {pair.column}", around_zero)[at]
        return Interval(pair.value + found.low, pair.value + found.high, found.level)

    return around


def _kernel(pair: Pair) -> Interval:
    real = pair.this.test.features[pair.column]
    with limits_for(real.shape[1]):
        this, other = (
            left_out_distances(side.generated.features[pair.column], real) for side in pair.sides
        )
    difference = kernel_difference(this, other, is_paired=pair.is_paired)
    return difference.interval(pair.settings.confidence)


def _by_pictures(
    difference_interval: Callable[..., Interval],
    values_of: Callable[[PictureSet, str], NDArray[Any]],
) -> Around:
    """Of a mean or share over pictures, or pairs: `values_of` has each one's, of a set's column."""

    def around(pair: Pair) -> Interval:
        return difference_interval(
            *(values_of(side.generated, pair.column) for side in pair.sides),
            is_paired=pair.is_paired,
            num_resamples=pair.settings.num_bootstrap,
            level=pair.settings.confidence,
            seed=pair.seed,
        )

    return around


def _nearness(pair: Pair) -> Interval:
    random = np.random.default_rng(pair.seed)
    (this, real), (other, _) = (nearest_distances(side, pair.column) for side in pair.sides)
    resampled = []
    for _ in range(pair.settings.num_bootstrap):
        index = random.integers(len(this), size=len(this))
        other_index = index if pair.is_paired else random.integers(len(other), size=len(other))
        below = max(float(np.median(random.choice(real, len(real)))), _SMALLEST)
        resampled.append((np.median(this[index]) - np.median(other[other_index])) / below)
    tail = 50 * (1 - pair.settings.confidence)
    low, high = np.percentile(resampled, [tail, 100 - tail])
    return Interval(float(low), float(high), pair.settings.confidence)


_AROUND: Mapping[str, tuple[str, Around]] = {
    "frechet": ("block jackknife", _by_blocks("frechet", _frechet)),
    "kernel": ("jackknife", _kernel),
    **{
        name: (
            "block jackknife",
            _by_blocks("neighbourhoods", _neighbours, at=at, num_figures=len(NEIGHBOURHOODS)),
        )
        for at, name in enumerate(NEIGHBOURHOODS)
    },
    "cmmd": ("block jackknife", _by_blocks("cmmd", _cmmd)),
    "class": ("bootstrap", _by_pictures(proportion_difference_interval, recognised)),
    "clip": (
        "bootstrap",
        _by_pictures(mean_difference_interval, lambda drawn, _: clip_scores(drawn.features)),
    ),
    LPIPS: ("bootstrap", _by_pictures(mean_difference_interval, pair_distances)),
    NEARNESS: ("bootstrap", _nearness),
}
"""By the first word of a figure's name."""
