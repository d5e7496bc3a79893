"""The report's plots: numbers in, figures for the page out, one for each panel.

One function per subject, each on plain sequences, so that anything can be plotted without a run.
What a number means and where it comes from is the caller's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.ticker import (
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    PercentFormatter,
)

from darkroom.pages.page import Figure
from darkroom.pages.style import BLUE, GREEN, INK, ORANGE, RED, VIOLET, panel, to_svg

Numbers = Sequence[float]


@dataclass(frozen=True)
class ScheduleCurves:
    """One noise schedule: T values each."""

    name: str
    betas: Numbers
    alphas_cumprod: Numbers
    snr: Numbers
    is_own: bool = False
    """Whether this is the run's own, drawn strong."""


def schedule_plots(schedules: Sequence[ScheduleCurves]) -> list[Figure]:
    """beta, alpha-bar and signal-to-noise ratio over the timesteps, schedules overlaid."""
    return [
        _schedule_plot("beta", "Noise added per step", "βₜ", schedules),
        _schedule_plot("alpha_bar", "Signal that is left", "ᾱₜ", schedules),
        _schedule_plot("snr", "Signal-to-noise ratio", "SNR in dB", schedules),
    ]


def _schedule_plot(
    what: str, title: str, label: str, schedules: Sequence[ScheduleCurves]
) -> Figure:
    with panel(f"schedule {what}") as (figure, axes):
        for schedule, colour in zip(schedules, _colours(schedules), strict=True):
            curves = {
                "beta": schedule.betas,
                "alpha_bar": schedule.alphas_cumprod,
                "snr": _decibel(schedule.snr),
            }
            axes.plot(
                curves[what],
                label=f"{schedule.name} (this run)" if schedule.is_own else schedule.name,
                color=colour,
                linewidth=2.6 if schedule.is_own else 1.3,
                alpha=1.0 if schedule.is_own else 0.75,
                linestyle="-" if schedule.is_own else (0, (4, 2)),
                zorder=3 if schedule.is_own else 2,
            )
        axes.set(xlabel="timestep t", ylabel=label)
        if what == "beta":
            plain_log_scale(axes, subs=(1.0,))
        elif what == "alpha_bar":
            axes.set_ylim(-0.02, 1.02)
            axes.legend(loc="upper right")
        else:
            axes.set_ylim(bottom=max(axes.get_ylim()[0], -100))
            axes.axhline(0, color=INK, linewidth=0.8, alpha=0.5)
        names = ", ".join(schedule.name for schedule in schedules)
        return Figure(to_svg(figure, f"{title} over the timesteps: {names}"), title)


@dataclass(frozen=True)
class TrainingLog:
    """Columns of a metrics log; None where a row has no such value."""

    step: Sequence[int]
    columns: Mapping[str, Sequence[float | None]]

    def series(self, name: str) -> tuple[list[int], list[float]]:
        """Steps and values of the rows that have this column; empty when none does."""
        pairs = [
            (step, value)
            for step, value in zip(self.step, self.columns.get(name, ()), strict=False)
            if value is not None and np.isfinite(value)
        ]
        return [step for step, _ in pairs], [value for _, value in pairs]


def training_plots(log: TrainingLog, *, max_grad_norm: float | None = None) -> list[Figure]:
    """Loss and validation loss, learning rate, gradient norm, throughput over the steps."""
    with panel("loss") as (figure, axes):
        _curve(axes, log, "loss", BLUE, "training", smooth=True)
        _curve(axes, log, "validation_loss", ORANGE, "validation (fixed noise)", marker="o")
        axes.set_ylabel("mean squared error")
        plain_log_scale(axes)
        loss = over_steps(figure, axes, "Loss")
    with panel("learning rate") as (figure, axes):
        _curve(axes, log, "learning_rate", GREEN)
        axes.yaxis.set_major_formatter(_PLAIN)
        axes.set_ylim(bottom=0)
        rate = over_steps(figure, axes, "Learning rate")
    with panel("gradient norm") as (figure, axes):
        _curve(axes, log, "grad_norm", VIOLET, "gradient", smooth=True)
        if max_grad_norm is not None:
            axes.axhline(
                max_grad_norm, color=RED, linewidth=1.2, linestyle=(0, (4, 2)),
                label=f"clipped at {max_grad_norm:g}",
            )  # fmt: skip
        axes.set_ylabel("L2 norm")
        plain_log_scale(axes)
        norm = over_steps(figure, axes, "Gradient norm before clipping")
    with panel("throughput") as (figure, axes):
        _curve(axes, log, "images_per_second", BLUE)
        axes.set_ylabel("images/s")
        axes.set_ylim(bottom=0)
        speed = over_steps(figure, axes, "Throughput")
    return [loss, rate, norm, speed]


def over_steps(figure: Any, axes: Axes, title: str, *, legend: bool = True) -> Figure:
    """The plot as a figure whose x axis counts optimizer steps."""
    axes.set_xlabel("optimizer step")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if legend and len(axes.get_legend_handles_labels()[0]) > 1:
        axes.legend(loc="upper right")
    if not axes.lines:
        axes.text(0.5, 0.5, "not logged", transform=axes.transAxes, ha="center", alpha=0.6)
    return Figure(to_svg(figure, f"{title} over the optimizer steps"), title)


def accuracy_plot(
    per_class: Mapping[str, tuple[float, float, float]], *, floor: float, chance: float
) -> Figure:
    """Share of each class's pictures that the classifier recognises, with its interval.

    per_class: name -> (share, lower, upper); floor: the same share on real pictures.
    """
    with panel("accuracy", height=3.6) as (figure, axes):
        shares = np.array([share for share, _, _ in per_class.values()])
        lower, upper = np.array([ends[1:] for ends in per_class.values()]).T
        positions = np.arange(len(per_class))
        axes.bar(positions, shares, width=0.72, color=BLUE, alpha=0.85)
        axes.errorbar(
            positions, shares, yerr=np.abs([shares - lower, upper - shares]),
            fmt="none", ecolor=INK, elinewidth=1, capsize=2.5, alpha=0.8,
        )  # fmt: skip
        axes.axhline(floor, color=GREEN, linewidth=1.3, label=f"real test pictures {floor:.1%}")
        axes.axhline(
            chance, color=RED, linewidth=1.3, linestyle=(0, (4, 2)), label=f"chance {chance:.1%}"
        )
        axes.set_xticks(positions, _short(per_class), **_turned(per_class))
        axes.set(xlabel="asked class", ylim=(0, 1.04))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.grid(visible=False, axis="x")
        figure.legend(loc="outside lower center", ncols=2)
        label = "Accuracy of the reference classifier on each class asked for"
        return Figure(to_svg(figure, label), "Recognised as the asked class")


def confusion_plot(confusion: Sequence[Sequence[int]], classes: Sequence[str]) -> Figure:
    """Asked class (rows) against recognised class (columns), as shares of each row."""
    counts = np.asarray(confusion, dtype=float)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    with panel("confusion", height=3.6) as (figure, axes):
        # The square root lets a few mistaken ones be seen.
        axes.imshow(shares, cmap=_FADE_IN, norm=PowerNorm(0.5, 0, 1), aspect="auto")
        ticks = np.arange(len(classes))
        axes.set_xticks(ticks, _short(classes), **_turned(classes))
        axes.set_yticks(ticks, _short(classes))
        axes.set(xlabel="recognised as", ylabel="asked for")
        axes.grid(visible=False)
        axes.tick_params(length=0)
        if len(classes) <= 20:
            for row, column in np.argwhere(counts > 0):
                axes.text(
                    column, row, f"{counts[row, column]:.0f}", ha="center", va="center",
                    fontsize=8, color="white" if shares[row, column] > 0.25 else INK,
                )  # fmt: skip
        label = "Confusion matrix: asked class against recognised class"
        return Figure(to_svg(figure, label), "Confusion")


@dataclass(frozen=True)
class Ranged:
    """A figure with its interval."""

    value: float
    lower: float
    upper: float


def floor_plot(name: str, generated: Ranged, real: Ranged) -> Figure:
    """A distance of generated pictures to the test pictures, beside that of real ones.

    An unbiased distance may lie below 0.
    """
    with panel(f"floor {name}", height=1.9) as (figure, axes):
        for y, ranged, colour in ((1, generated, BLUE), (0, real, GREEN)):
            axes.plot([ranged.lower, ranged.upper], [y, y], color=colour, linewidth=5, alpha=0.35)
            axes.plot(ranged.value, y, "o", color=colour, markersize=7)
            axes.annotate(
                f"{ranged.value:.3g}", (ranged.value, y), xytext=(0, 8),
                textcoords="offset points", ha="center", fontsize=9,
            )  # fmt: skip
        axes.set_yticks([0, 1], ["real training\npictures", "generated\npictures"])
        axes.set_ylim(-0.55, 1.75)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        lowest = min(0.0, generated.lower, real.lower)
        highest = max(generated.upper, real.upper, lowest + 1e-12)
        margin = 0.08 * (highest - lowest)
        axes.set_xlim(lowest - margin if lowest < 0 else 0, highest + margin)
        axes.grid(visible=False, axis="y")
        return Figure(to_svg(figure, f"{name} and its floor"), f"{name}, to the test pictures")


def neighbour_plot(edges: Numbers, generated: Numbers, test: Numbers) -> Figure:
    """How far pictures lie from their nearest training picture: generated against test.

    edges: bin edges (n + 1); generated, test: counts (n).
    """
    with panel("neighbours") as (figure, axes):
        for counts, colour, label in (
            (test, GREEN, "real test pictures"),
            (generated, BLUE, "generated pictures"),
        ):
            shares = np.asarray(counts, dtype=float) / max(sum(counts), 1)
            axes.stairs(shares, edges, fill=True, color=colour, alpha=0.25)
            axes.stairs(shares, edges, color=colour, linewidth=1.7, label=label)
        axes.set(xlabel="distance, pixels in [0, 1]", ylabel="share")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.set_xlim(left=0)
        axes.set_ylim(top=1.25 * axes.get_ylim()[1])  # room for the legend
        axes.legend(loc="upper left")
        label = "Histogram of distances to the nearest training picture"
        return Figure(to_svg(figure, label), "Distance to the nearest training picture")


_FADE_IN = LinearSegmentedColormap.from_list("fade-in", [f"{BLUE}00", BLUE])
_PLAIN = FuncFormatter(lambda value, _: f"{value:g}")
_MAX_NAME = 16
_OTHERS = (ORANGE, GREEN, VIOLET, RED)


def _colours(schedules: Sequence[ScheduleCurves]) -> list[str]:
    others = iter(_OTHERS * len(schedules))
    return [BLUE if schedule.is_own else next(others) for schedule in schedules]


def _decibel(ratios: Numbers) -> list[float]:
    return [10 * math.log10(ratio) if ratio > 0 else -math.inf for ratio in ratios]


def plain_log_scale(axes: Axes, subs: Sequence[float] = (1.0, 2.0, 5.0)) -> None:
    """A logarithmic y axis that names its ticks in plain numbers, some between the decades."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=subs))
    axes.yaxis.set_major_formatter(_PLAIN)
    axes.yaxis.set_minor_formatter(NullFormatter())


def _curve(axes: Axes, log: TrainingLog, column: str, colour: str, label: str = "",
           *, smooth: bool = False, marker: str = "") -> None:  # fmt: skip
    steps, values = log.series(column)
    if not values:
        return
    if smooth and len(values) >= 20:
        axes.plot(steps, values, color=colour, linewidth=0.8, alpha=0.35)
        values = _smoothed(values)
        label = f"{label} (smoothed)"
    axes.plot(steps, values, color=colour, label=label, marker=marker, markersize=4)


def _smoothed(values: Numbers, share: float = 0.06) -> list[float]:
    """Centred moving average over `share` of the curve, shorter at its ends."""
    half = max(1, int(len(values) * share / 2))
    sums = np.concatenate([[0.0], np.cumsum(values)])
    last = len(values)
    ends = [(max(0, i - half), min(last, i + half + 1)) for i in range(last)]
    return [float((sums[stop] - sums[start]) / (stop - start)) for start, stop in ends]


def _short(names: Iterable[str]) -> list[str]:
    """Names of classes beside an axis, which must leave room for the plot."""
    return [name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 1]}…" for name in names]


def _turned(names: Iterable[str]) -> dict[str, Any]:
    """How such names stand below an axis: upright where they are short."""
    if max((len(name) for name in names), default=0) <= 3:
        return {}
    return {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
