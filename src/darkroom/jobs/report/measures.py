"""The figures of an evaluation as they stand on the page: key figures, table, plots.

Judges nothing: verdicts and the word "biased" are the evaluation's.
"""

from __future__ import annotations

from collections.abc import Collection

from darkroom.jobs.artifacts.evaluation import Evaluation, Measured, Metric, SecondSet
from darkroom.jobs.measuring.entries import title_of
from darkroom.jobs.measuring.names import CLIP_SCORE, NETWORKS
from darkroom.jobs.measuring.words import (
    better,
    difference_interval,
    floor,
    interval,
    shown,
    shown_difference,
)
from darkroom.metrics.frechet import FEW_IMAGES
from darkroom.pages.page import Block, Chip, KeyFigure, SideBySide, Table
from darkroom.pages.plots import (
    Ranged,
    accuracy_plot,
    confusion_plot,
    floor_plot,
    neighbour_plot,
)


def key_figures(evaluation: Evaluation) -> list[KeyFigure]:
    """The headline numbers, each with N, interval and floor."""
    metrics = evaluation.metrics
    figures = _gate(evaluation)
    if accuracy := metrics.get("class_accuracy"):
        figures.append(
            KeyFigure(
                "Recognised as asked", f"{accuracy.value:.1%}",
                f"of {accuracy.n} pictures [{interval('class_accuracy', accuracy)}]; "
                + _real("real test pictures ", "class_accuracy", accuracy),
                "bad" if accuracy.near_chance else "",
            )
        )  # fmt: skip
    figures += _distance(evaluation)
    if score := metrics.get(CLIP_SCORE):
        figures.append(
            KeyFigure(
                title_of(CLIP_SCORE), shown(CLIP_SCORE, score.value),
                f"of {score.n} pictures [{interval(CLIP_SCORE, score)}]; with other prompts "
                f"{shown(CLIP_SCORE, score.chance or 0.0)}",
            )
        )  # fmt: skip
    if memory := metrics.get("memorisation"):
        figures.append(
            KeyFigure(
                "Memorising", "yes" if memory.memorising else "no",
                f"nearest training picture at {memory.value:.2f} of a test picture's distance",
                "bad" if memory.memorising else "good",
            )
        )  # fmt: skip
    return figures


def _gate(evaluation: Evaluation) -> list[KeyFigure]:
    """Whether what was required is met."""
    verdicts = evaluation.verdicts
    if not verdicts:
        return []
    unmet = [verdict for verdict in verdicts if not verdict.met]
    said = "; ".join(f"{one.requirement}: {one.reason}" for one in unmet or verdicts)
    return [
        KeyFigure("Gate", "not passed" if unmet else "passed", said, "bad" if unmet else "good")
    ]


def headline_distance(names: Collection[str], num_images: int) -> str | None:
    """The one distance to look at: of the best features there are, and of few pictures the one
    that few pictures do not bias."""
    measure = "frechet" if num_images >= FEW_IMAGES else "kernel"
    found = (f"{measure}_{features}" for features in (*NETWORKS, "pixels", "classifier"))
    return next((name for name in found if name in names), None)


def _distance(evaluation: Evaluation) -> list[KeyFigure]:
    name = headline_distance(evaluation.metrics, evaluation.num_images)
    if name is not None:
        metric = evaluation.metrics[name]
        said = (f"{metric.ratio:.2f} times " if metric.ratio is not None else "") + _real(
            "the floor of ", name, metric
        )
        ends = f"[{interval(name, metric)}]; " if name.startswith("kernel_") else ""
        biased = ", biased" if metric.biased else ""
        return [
            KeyFigure(
                title_of(name), shown(name, metric.value),
                f"{ends}{said} at N = {metric.n}{biased}",
            )
        ]  # fmt: skip
    return []


def _real(before: str, name: str, metric: Metric) -> str:
    return "" if metric.floor is None else before + shown(name, metric.floor.value)


def measures_table(evaluation: Evaluation) -> Table:
    """Every metric with its interval, N, floor and notes."""
    percent = f"{evaluation.confidence:.0%} interval"
    return Table(
        columns=["measure", "value", percent, "N", "real pictures, same N", "ratio", "notes"],
        rows=[
            [
                title_of(name),
                shown(name, metric.value),
                interval(name, metric),
                str(metric.n),
                floor(name, metric),
                f"{metric.ratio:.2f}" if metric.ratio is not None else "",
                _notes(metric),
            ]
            for name, metric in evaluation.metrics.items()
        ],
        numbers=frozenset({"value", "N", "ratio"}),
        fixed=frozenset({percent}),
    )


def differences_table(evaluation: Evaluation, second: SecondSet) -> Table:
    """The figures of two sets, and what lies between them."""
    percent = f"{evaluation.confidence:.0%} interval"
    return Table(
        columns=["measure", "this set", "second set", "difference", percent, "better"],
        rows=[
            [
                title_of(name),
                shown(name, evaluation.metrics[name].value),
                shown(name, second.metrics[name].value),
                shown_difference(name, difference.value),
                difference_interval(name, difference),
                better(difference),
            ]
            for name, difference in second.differences.items()
        ],
        numbers=frozenset({"this set", "second set", "difference"}),
        fixed=frozenset({percent}),
    )


def measure_plots(evaluation: Evaluation) -> list[Block]:
    """What the metrics at hand have to show."""
    metrics = evaluation.metrics
    figures = []
    if accuracy := metrics.get("class_accuracy"):
        ranges = {row.class_name: ranged(row) for row in accuracy.per_class}
        figures.append(
            accuracy_plot(
                {name: (one.value, one.lower, one.upper) for name, one in ranges.items()},
                floor=accuracy.floor.value if accuracy.floor else 0.0,
                chance=accuracy.chance or 0.0,
            )
        )
        figures.append(confusion_plot(accuracy.confusion, accuracy.classes))
    figures += [
        floor_plot(title_of(name), ranged(metric), ranged(metric.floor))
        for name, metric in metrics.items()
        if name.startswith(("frechet_", "kernel_")) and metric.floor is not None
    ]
    if (memory := metrics.get("memorisation")) and (nearest := memory.histogram):
        figures.append(neighbour_plot(nearest.edges, nearest.generated, nearest.test))
    return [SideBySide(figures)] if figures else []


def _notes(metric: Metric) -> list[str | Chip]:
    chips: list[str | Chip] = []
    if metric.biased:
        chips.append(Chip(f"biased: N = {metric.n} is small", "warn"))
    if metric.near_chance:
        chips += [Chip("near chance", "bad"), "the class that was asked for is ignored"]
    if metric.memorising is not None:
        flag = metric.memorising
        chips.append(Chip("memorising" if flag else "not memorising", "bad" if flag else "good"))
    if metric.note:
        chips.append(metric.note)
    return chips


def ranged(measured: Measured) -> Ranged:
    value, lower, upper = measured.value, measured.lower, measured.upper
    return Ranged(value, value if lower is None else lower, value if upper is None else upper)
