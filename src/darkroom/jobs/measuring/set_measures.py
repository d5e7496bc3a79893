"""Figures of neighbourhoods, CMMD, CLIP score and LPIPS.

As `measures.py`: each function takes the comparison, the features' column and the settings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darkroom.jobs.artifacts.evaluation import Metric, RealMeasured
from darkroom.jobs.measuring.comparison import CLIP, CUT, TEXT, Comparison, PictureSet
from darkroom.jobs.measuring.config import MeasuringConfig
from darkroom.jobs.measuring.measures import Measure, ends, limits_for
from darkroom.jobs.measuring.names import NEIGHBOURHOODS
from darkroom.metrics.bootstrap import Interval, mean_interval
from darkroom.metrics.features import BLOCK_ROWS, FeatureRows, ScaledRows
from darkroom.metrics.gaussian_kernel import gaussian_kernel_distance
from darkroom.metrics.jackknife import SelectedRows, block_jackknife, blocks_of
from darkroom.metrics.neighbourhoods import neighbourhoods

Figures = Callable[[FeatureRows, FeatureRows], Sequence[float]]
"""Generated and real rows to figures."""
NUM_FLOOR_DRAWS = 3
"""Of figures whose time grows with the square of N."""


def jackknife_words(*sets: FeatureRows) -> str:
    """How an interval by the block jackknife was made."""
    return f"block jackknife, {blocks_of(sets)} blocks of both sides"


def neighbourhood(which: str) -> Measure:
    """One of the figures of `Neighbourhoods`; all four are computed together, once."""

    def measure(
        comparison: Comparison, column: str, settings: MeasuringConfig, seed: int
    ) -> Metric:
        def figures(generated: FeatureRows, real: FeatureRows) -> Sequence[float]:
            return astuple(neighbourhoods(generated, real, num_neighbours=settings.num_neighbours))

        def compute() -> dict[str, Metric]:
            made = compared(comparison, column, figures, settings, seed, name="neighbourhoods")
            return dict(zip(NEIGHBOURHOODS, made, strict=True))

        metric = comparison.once(f"neighbourhoods of {column}", compute)[which]
        return metric if which == "density" else _at_most_one(metric)

    return measure


def cmmd(comparison: Comparison, column: str, settings: MeasuringConfig, seed: int) -> Metric:
    """CMMD of the generated pictures to the test split."""

    def figures(generated: FeatureRows, real: FeatureRows) -> Sequence[float]:
        return [gaussian_kernel_distance(generated, real)]

    return compared(comparison, column, figures, settings, seed, name="cmmd")[0]


def clip_score(comparison: Comparison, column: str, settings: MeasuringConfig, seed: int) -> Metric:
    """The mean of 100 max(cos, 0) between pictures and their prompts (Hessel et al. 2021 without
    its factor and prefix). Real pictures are the reference's, with their captions."""
    scores = clip_scores(comparison.generated.features)
    was_cut = np.asarray(comparison.generated.features[CUT].stored)[:, 0] > 0
    real = None
    if comparison.captions_are_known:
        of_real = clip_scores(comparison.test.features)
        real = RealMeasured(**_mean(of_real, settings, seed))
    # The same pictures with the prompt of another: what a model that ignores prompts would score.
    other = float(clip_scores(comparison.generated.features, shift=1).mean())
    return Metric(
        **_mean(scores, settings, seed),
        floor=real,
        interval=f"bootstrap, {settings.num_bootstrap} resamples",
        features=comparison.digests[column],
        chance=other,
        note=f"{int(was_cut.sum())} prompts were cut off" if was_cut.any() else "",
        details={"num_prompts_cut": int(was_cut.sum())},
    )


def lpips_diversity(
    comparison: Comparison, column: str, settings: MeasuringConfig, seed: int
) -> Metric:
    """The mean LPIPS of pairs of pictures of one prompt or class; n is the number of pairs."""
    distances = pair_distances(comparison.generated, column)
    of_real = pair_distances(comparison.test, column)
    return Metric(
        **_mean(distances, settings, seed),
        floor=RealMeasured(**_mean(of_real, settings, seed)) if len(of_real) else None,
        interval=f"bootstrap, {settings.num_bootstrap} resamples of pairs",
        features=comparison.digests[column],
        note="N is the number of pairs",
    )


def pair_distances(pictures: PictureSet, column: str) -> NDArray[np.float64]:
    """Of every pair of the set: (number of pairs,)."""
    distances = np.asarray(pictures.features[column].stored, np.float64).reshape(-1)
    return distances[np.isfinite(distances)]


def clip_scores(features: Mapping[str, ScaledRows], *, shift: int = 0) -> NDArray[np.float64]:
    """Of each picture (N,): its own prompt, or that of the picture `shift` further on."""
    pictures, texts = features[CLIP], features[TEXT]
    count = len(pictures)
    scores = np.empty(count)
    for start in range(0, count, BLOCK_ROWS):
        at = np.arange(start, min(start + BLOCK_ROWS, count))
        a, b = pictures[at], texts[(at + shift) % count]
        lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        scores[at] = 100.0 * np.clip((a * b).sum(axis=1) / lengths, 0.0, None)
    return scores


def _mean(scores: NDArray[np.float64], settings: MeasuringConfig, seed: int) -> dict[str, Any]:
    interval = mean_interval(
        scores, num_resamples=settings.num_bootstrap, level=settings.confidence, seed=seed
    )
    return ends(float(scores.mean()), len(scores), interval)


def compared(
    comparison: Comparison,
    column: str,
    figures: Figures,
    settings: MeasuringConfig,
    seed: int,
    *,
    name: str,
) -> list[Metric]:
    """Figures of generated against test rows with interval and floor; none is below 0.

    name: of the figures, for what both sets of drawn pictures share.
    """
    generated, _, test = comparison.rows(column)
    n, dim = generated.shape
    with limits_for(dim):
        values = figures(generated, test)
        around = block_jackknife(
            figures, (generated, test), values, level=settings.confidence, seed=seed
        )
        floors: Sequence[RealMeasured | None] = [None] * len(values)
        if comparison.has_training_split:
            floors = comparison.once_of_real(
                f"{name} {column} {n}", lambda: _floors(comparison, column, figures, settings, seed)
            )
    return [
        Metric(
            **_positive(value, n, interval),
            floor=floor,
            interval=jackknife_words(generated, test),
            dimensions=dim,
            features=comparison.digests[column],
        )
        for value, interval, floor in zip(values, around, floors, strict=True)
    ]


def _floors(
    comparison: Comparison, column: str, figures: Figures, settings: MeasuringConfig, seed: int
) -> list[RealMeasured]:
    """The same of as many training rows: the mean over draws, with the interval of the first."""
    generated, train, test = comparison.rows(column)
    size = min(len(generated), len(train))
    random = np.random.default_rng(seed)
    draws = 1 if size == len(train) else min(NUM_FLOOR_DRAWS, settings.num_floor_draws)
    drawn = [SelectedRows(train, random.permutation(len(train))[:size]) for _ in range(draws)]
    values = np.array([figures(rows, test) for rows in drawn]).mean(axis=0).tolist()
    around = block_jackknife(
        figures, (drawn[0], test), values, level=settings.confidence, seed=seed
    )
    return [
        RealMeasured(**_positive(value, size, interval), num_draws=draws)
        for value, interval in zip(values, around, strict=True)
    ]


def _positive(value: float, n: int, interval: Interval) -> dict[str, Any]:
    return ends(value, n, Interval(max(interval.low, 0.0), interval.high, interval.level))


def _at_most_one(metric: Metric) -> Metric:
    """A share: neither its interval nor its floor's goes above 1."""
    floor = metric.floor
    if floor is not None:
        floor = replace(floor, upper=min(floor.upper or 0.0, 1.0))
    return replace(metric, floor=floor, upper=min(metric.upper or 0.0, 1.0))
