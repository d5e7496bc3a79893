"""One figure from features: its value with N and interval, and what real pictures score there.

Each function takes the comparison, the features' column and the settings, and gives a `Metric`.
Whether it can be asked is decided before (`entries.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from darkroom.errors import DataError
from darkroom.jobs.artifacts.evaluation import ClassMeasured, Histogram, Metric, RealMeasured
from darkroom.jobs.measuring.comparison import PIXELS, Comparison, PictureSet
from darkroom.jobs.measuring.config import MeasuringConfig
from darkroom.metrics.bootstrap import Interval, frechet_interval, proportion_interval
from darkroom.metrics.features import MirroredRows, ScaledRows
from darkroom.metrics.floor import Floor, frechet_floor
from darkroom.metrics.frechet import FEW_IMAGES, frechet_distance_between, is_biased
from darkroom.metrics.jackknife import block_jackknife, blocks_of
from darkroom.metrics.kernel import kernel_distance, kernel_floor, subset_distances
from darkroom.metrics.neighbours import (
    memorisation,
    nearest_neighbour_distances,
    nearest_row_distances,
)

Measure = Callable[[Comparison, str, MeasuringConfig, int], Metric]
"""(comparison, column of the features, settings, seed) -> figure."""

SMALL_DIM = 512
NUM_BINS = 40
CHANCE_MARGIN = 0.1
"""Accuracy is near chance when its interval reaches this share of the way to certainty."""
_SMALLEST = 1e-3
"""A resample's median may be 0; less than a grey level of one pixel apart is the same picture."""


def frechet(comparison: Comparison, column: str, settings: MeasuringConfig, seed: int) -> Metric:
    """The Frechet distance of the generated pictures to the test split."""
    generated, train, test = comparison.rows(column)
    n, dim = generated.shape
    is_small = dim <= SMALL_DIM
    with limits_for(dim):
        value = frechet_distance_between(generated, test)
        draws = settings.num_floor_draws if is_small else min(settings.num_floor_draws, 3)
        floor = _floor(
            comparison,
            f"frechet {column} {n}",
            lambda: frechet_floor(train, test, n, num_draws=draws, seed=seed),
            settings,
        )
        interval = (
            _resampled(generated, test, settings, seed)
            if is_small
            else _jackknifed(generated, test, value, settings, seed)
        )
    return Metric(
        **ends(value, n, interval),
        interval=f"bootstrap, {settings.num_bootstrap} resamples of both sides, centred"
        if is_small
        else f"block jackknife, {blocks_of((generated, test))} blocks of both sides",
        floor=floor,
        ratio=value / floor.value if floor and floor.value else None,
        biased=is_biased(n, dim),
        note="too few for a headline or a gate: take the kernel distance" if n < FEW_IMAGES else "",
        dimensions=dim,
        features=comparison.digests[column],
    )


def _resampled(
    generated: ScaledRows, test: ScaledRows, settings: MeasuringConfig, seed: int
) -> Interval:
    return frechet_interval(
        generated, test, num_resamples=settings.num_bootstrap, level=settings.confidence, seed=seed
    )


def _jackknifed(
    generated: ScaledRows, test: ScaledRows, value: float, settings: MeasuringConfig, seed: int
) -> Interval:
    """200 resamples of 2,048 dimensions take 7 to 22 minutes; this takes ten distances."""
    (found,) = block_jackknife(
        lambda a, b: [frechet_distance_between(a, b)], (generated, test), [value],
        level=settings.confidence, seed=seed,
    )  # fmt: skip
    return Interval(max(0.0, found.low), found.high, found.level)


def kernel(comparison: Comparison, column: str, settings: MeasuringConfig, seed: int) -> Metric:
    """The kernel distance (KID) of the generated pictures to the test split."""
    generated, train, test = comparison.rows(column)
    n, dim = generated.shape
    with limits_for(dim):
        distance = kernel_distance(generated, test)
        floor = _floor(
            comparison,
            f"kernel {column} {n}",
            lambda: kernel_floor(train, test, n, num_draws=settings.num_floor_draws, seed=seed),
            settings,
        )
        subsets = subset_distances(generated, test, seed=seed)
    return Metric(
        **ends(distance.value, n, distance.interval(settings.confidence)),
        interval="jackknife of both sides",
        floor=floor,
        dimensions=dim,
        features=comparison.digests[column],
        details={"standard_error": distance.standard_error, "subsets": asdict(subsets)},
    )


def class_accuracy(
    comparison: Comparison, column: str, settings: MeasuringConfig, seed: int
) -> Metric:
    """How often the classifier, whose logits `column` holds, sees the class that was asked for."""
    names = comparison.classes
    asked = _labels(comparison.generated)
    predicted = predictions(comparison.generated, column)
    right = recognised(comparison.generated, column)
    confusion = np.zeros((len(names), len(names)), np.int64)
    np.add.at(confusion, (asked, predicted), 1)
    share, chance = _share(right, settings, seed), 1 / len(names)
    real = recognised(comparison.test, column)
    return Metric(
        **share,
        interval=f"bootstrap, {settings.num_bootstrap} resamples",
        floor=RealMeasured(**_share(real, settings, seed)),
        features=comparison.digests[column],
        chance=chance,
        near_chance=bool(share["lower"] <= chance + CHANCE_MARGIN * (1 - chance)),
        per_class=tuple(
            ClassMeasured(class_name=name, **_share(right[asked == index], settings, seed))
            for index, name in enumerate(names)
            if (asked == index).any()
        ),
        classes=names,
        confusion=tuple(map(tuple, confusion.tolist())),
    )


def predictions(pictures: PictureSet, column: str) -> NDArray[np.int64]:
    """The most likely class of each picture by its logits: (N,)."""
    return np.asarray(pictures.features[column].stored.argmax(axis=1), np.int64)


def recognised(pictures: PictureSet, column: str) -> NDArray[np.bool_]:
    """Whether each picture is taken for the class that it was to show: (N,)."""
    return np.asarray(predictions(pictures, column) == _labels(pictures))


def nearest_distances(
    comparison: Comparison, column: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of generated and of test pictures to their nearest training picture: (N,) and (M,).

    By pixels a picture is as near as it or its mirror image is: training flips pictures.
    """
    generated, train, test = comparison.rows(column)

    def distances(rows: ScaledRows) -> NDArray[np.float64]:
        if column != PIXELS:
            return nearest_row_distances(rows, train)
        # In whole grey levels a copy comes out at exactly 0.
        nearest = nearest_neighbour_distances(rows.stored, train.stored)
        if comparison.shape is None:
            return nearest
        mirrored = MirroredRows(rows.stored, comparison.shape.chw)
        return np.minimum(nearest, nearest_neighbour_distances(mirrored, train.stored))

    key = f"nearest by {column}"
    return (
        comparison.once(key, lambda: distances(generated)),
        comparison.once_of_real(key, lambda: distances(test)),
    )


def nearness(comparison: Comparison, column: str, settings: MeasuringConfig, seed: int) -> Metric:
    """How near the generated pictures are to the training split: in grey levels, or by features."""
    generated, test = nearest_distances(comparison, column)
    verdict = memorisation(generated, test)
    figures = verdict.figures
    if figures.median_test == 0:
        raise DataError(
            "reference", None, "most of its test pictures are also training pictures",
            "prepare it again from pictures without duplicates",
        )  # fmt: skip
    edges = np.linspace(0, max(generated.max(), test.max(), 1e-9), NUM_BINS + 1)
    n = len(generated)
    return Metric(
        **ends(figures.median_ratio, n, _ratio_interval(generated, test, n, settings, seed)),
        interval=f"bootstrap, {settings.num_bootstrap} resamples",
        floor=RealMeasured(**ends(1.0, n, _ratio_interval(test, test, n, settings, seed))),
        features=comparison.digests[column],
        memorising=verdict.memorising,
        decided=verdict.decided,
        note=verdict.reason,
        histogram=Histogram(
            edges=tuple(edges.tolist()),
            generated=tuple(np.histogram(generated, edges)[0].tolist()),
            test=tuple(np.histogram(test, edges)[0].tolist()),
        ),
        details={
            "median_generated": figures.median_generated,
            "median_test": figures.median_test,
            "near_share": figures.near_share,
            "near_threshold": figures.near_threshold,
            "copies_share": figures.copies_share,
            "test_copies_share": figures.test_copies_share,
        },
    )


def ends(value: float, n: int, interval: Interval) -> dict[str, Any]:
    """The fields of a figure that every measure fills in."""
    return {"value": value, "n": n, "lower": interval.low, "upper": interval.high}


def _floor(
    comparison: Comparison, key: str, make: Callable[[], Floor], settings: MeasuringConfig
) -> RealMeasured | None:
    """None without a training split."""
    if not comparison.has_training_split:
        return None
    floor = comparison.once_of_real(key, make)
    reach = NormalDist().inv_cdf(0.5 + settings.confidence / 2) * floor.spread
    return RealMeasured(
        value=floor.value,
        n=floor.n,
        lower=floor.value - reach if reach else None,
        upper=floor.value + reach if reach else None,
        num_draws=floor.num_draws,
    )


def _share(right: NDArray[np.bool_], settings: MeasuringConfig, seed: int) -> dict[str, Any]:
    interval = proportion_interval(
        right, num_resamples=settings.num_bootstrap, level=settings.confidence, seed=seed
    )
    return ends(float(right.mean()), len(right), interval)


def _ratio_interval(
    above: NDArray[np.float64], below: NDArray[np.float64], size: int,
    settings: MeasuringConfig, seed: int,
) -> Interval:  # fmt: skip
    """Percentile bootstrap of median(above) / median(below), `size` of above per resample."""
    random = np.random.default_rng(seed)
    ratios = [
        np.median(random.choice(above, size))
        / max(np.median(random.choice(below, len(below))), _SMALLEST)
        for _ in range(settings.num_bootstrap)
    ]
    tail = 50 * (1 - settings.confidence)
    low, high = np.percentile(ratios, [tail, 100 - tail])
    return Interval(float(low), float(high), settings.confidence)


def _labels(pictures: PictureSet) -> NDArray[np.int64]:
    if pictures.labels is None:
        raise ValueError("labels are missing: the entry's needs were not asked")
    return pictures.labels


def limits_for(dim: int) -> AbstractContextManager[object]:
    """One BLAS thread for small matrices, whose threads would only wait for each other.

    Measured at 64 dimensions on 2 cores: 0.2 s of CPU time against 2.4 s, and 20 s when busy.
    """
    limits: AbstractContextManager[object] = threadpool_limits(
        1 if dim <= SMALL_DIM else None, user_api="blas"
    )
    return limits
