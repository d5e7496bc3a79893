"""The figures of an evaluation as they stand on the page: key figures, table, plots.

Judges nothing: verdicts and the word "biased" are the evaluation's.
"""

from __future__ import annotations

from darkroom.jobs.artifacts.evaluation import Evaluation, Measured, Metric
from darkroom.jobs.measuring.entries import title_of
from darkroom.jobs.measuring.words import floor, interval, shown
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
    figures = []
    if accuracy := metrics.get("class_accuracy"):
        figures.append(
            KeyFigure(
                "Recognised as asked", f"{accuracy.value:.1%}",
                f"of {accuracy.n} pictures [{interval('class_accuracy', accuracy)}]; "
                f"real test pictures {accuracy.floor.value:.1%}",
                "bad" if accuracy.near_chance else "",
            )
        )  # fmt: skip
    if pixels := metrics.get("frechet_pixels"):
        real = shown("frechet_pixels", pixels.floor.value)
        figures.append(
            KeyFigure(
                "Frechet distance, pixels", shown("frechet_pixels", pixels.value),
                (f"{pixels.ratio:.2f} times " if pixels.ratio is not None else "")
                + f"the floor of {real} at N = {pixels.n}" + (", biased" if pixels.biased else ""),
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


def measure_plots(evaluation: Evaluation) -> list[Block]:
    """What the metrics at hand have to show."""
    metrics = evaluation.metrics
    figures = []
    if accuracy := metrics.get("class_accuracy"):
        ranges = {row.class_name: _ranged(row) for row in accuracy.per_class}
        figures.append(
            accuracy_plot(
                {name: (one.value, one.lower, one.upper) for name, one in ranges.items()},
                floor=accuracy.floor.value,
                chance=accuracy.chance or 0.0,
            )
        )
        figures.append(confusion_plot(accuracy.confusion, accuracy.classes))
    figures += [
        floor_plot(title_of(name), _ranged(metric), _ranged(metric.floor))
        for name, metric in metrics.items()
        if name.startswith(("frechet_", "kernel_"))
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


def _ranged(measured: Measured) -> Ranged:
    value, lower, upper = measured.value, measured.lower, measured.upper
    return Ranged(value, value if lower is None else lower, value if upper is None else upper)
