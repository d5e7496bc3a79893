"""Plots of a study: how the best came about, which values it has, what mattered, what it cost.

Numbers in, figures for the page out, as `plots.py` has it. What a trial is, the caller knows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import MaxNLocator, PercentFormatter

from darkroom.pages.page import Figure
from darkroom.pages.plots import plain_log_scale
from darkroom.pages.style import BLUE, GREEN, INK, ORANGE, RED, panel, to_svg

PlottedState = Literal["complete", "stopped", "failed"]
_COLOURS: Mapping[str, str] = {"complete": BLUE, "stopped": ORANGE, "failed": RED}
_WORSE_TO_BETTER = LinearSegmentedColormap.from_list("better", ["#9aa7b8", BLUE, GREEN])
_MAX_LABEL = 14


@dataclass(frozen=True)
class PlottedTrial:
    """One trial."""

    number: int
    state: PlottedState
    value: float | None
    """Its objective; None where it did not come to its end."""
    values: Mapping[str, float | str]
    """Axis -> a number, or the name of a choice; an axis that was not tried is left out."""
    seen: Mapping[int, float]
    """Validation loss by step."""
    worker_seconds: float


@dataclass(frozen=True)
class PlottedAxis:
    """One field that was tried."""

    name: str
    choices: tuple[str, ...] = ()
    """Names of its choices; none for a range of numbers."""
    low: float = 0.0
    high: float = 1.0
    log: bool = False

    def place(self, value: float | str) -> float:
        """Where a value stands between 0 and 1."""
        if self.choices:
            return (self.choices.index(str(value)) + 0.5) / len(self.choices)
        low, high, at = (
            math.log(x) if self.log else x for x in (self.low, self.high, float(value))
        )
        return (at - low) / (high - low) if high > low else 0.5

    def ticks(self) -> list[tuple[float, str]]:
        """Places and their labels."""
        if self.choices:
            return [(self.place(name), _short(name)) for name in self.choices]
        return [(0.0, f"{self.low:.3g}"), (1.0, f"{self.high:.3g}")]


def history_plot(
    trials: Sequence[PlottedTrial], objective: str, *, larger_is_better: bool
) -> Figure:
    """The objective of each trial in order, and the best so far."""
    with panel("study history", height=3.0) as (figure, axes):
        done = [trial for trial in trials if trial.value is not None]
        values = [trial.value for trial in done if trial.value is not None]
        if values:
            best = np.maximum.accumulate(values) if larger_is_better else np.minimum.accumulate(
                values
            )  # fmt: skip
            numbers = [trial.number for trial in done]
            axes.step(numbers, best, where="post", color=GREEN, label="best so far")
            axes.plot(numbers, values, "o", color=BLUE, markersize=5, label="complete")
            if min(values) > 0 and max(values) / min(values) > 20:
                plain_log_scale(axes)
        # What did not come to its end has no objective: marked on the axis below.
        for state, marker in (("stopped", "v"), ("failed", "x")):
            others = [trial.number for trial in trials if trial.state == state]
            if others:
                axes.plot(
                    others, np.full(len(others), 0.03), marker, color=_COLOURS[state],
                    markersize=6, label=state, clip_on=False, transform=axes.get_xaxis_transform(),
                )  # fmt: skip
        axes.set(xlabel="trial", ylabel=objective)
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        figure.legend(loc="outside lower center", ncols=4)
        return Figure(to_svg(figure, f"{objective} of each trial"), "Optimisation history")


def rungs_plot(trials: Sequence[PlottedTrial], rungs: Sequence[int]) -> Figure:
    """Validation loss of every trial over its steps, with the rungs where it may be stopped."""
    with panel("study rungs", height=3.0) as (figure, axes):
        for state in ("complete", "failed", "stopped"):
            for trial in (trial for trial in trials if trial.state == state and trial.seen):
                steps = sorted(trial.seen)
                axes.plot(
                    steps, [trial.seen[step] for step in steps], color=_COLOURS[state],
                    marker="o", markersize=3, linewidth=1.1, alpha=0.8,
                )  # fmt: skip
        for rung in rungs:
            axes.axvline(rung, color=INK, linewidth=0.9, alpha=0.5, linestyle=(0, (4, 2)))
        values = [value for trial in trials for value in trial.seen.values() if value > 0]
        if values and max(values) / min(values) > 5:
            plain_log_scale(axes)
        states = dict.fromkeys(trial.state for trial in trials if trial.seen)
        for state in states:
            axes.plot([], [], color=_COLOURS[state], label=state)
        axes.set(xlabel="optimizer step", ylabel="validation loss")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        if states:
            figure.legend(loc="outside lower center", ncols=3)
        label = "Validation loss of every trial over the optimizer steps, with the rungs"
        return Figure(to_svg(figure, label), "Who was stopped, and where")


def parallel_plot(
    trials: Sequence[PlottedTrial],
    axes_of_study: Sequence[PlottedAxis],
    objective: str,
    *,
    larger_is_better: bool,
) -> Figure:
    """A line per complete trial through the values of its fields, the best ones strong."""
    done = sorted(
        (trial for trial in trials if trial.value is not None),
        key=lambda trial: trial.value or 0.0, reverse=not larger_is_better,
    )  # fmt: skip
    scale = _value_axis(objective, [trial.value or 0.0 for trial in done])
    columns = [*axes_of_study, scale]
    width = max(4.2, 1.55 * len(columns))
    with panel("study parallel", width=min(width, 12.0), height=3.6) as (figure, axes):
        for rank, trial in enumerate(done, start=1):
            share = rank / len(done)
            # A field that was not tried has no point: the line passes over its axis.
            places = {
                column: axis.place(trial.values[axis.name])
                for column, axis in enumerate(axes_of_study)
                if axis.name in trial.values
            } | {len(axes_of_study): scale.place(trial.value or 0.0)}
            axes.plot(
                list(places), list(places.values()), marker="o",
                markersize=3, color=_WORSE_TO_BETTER(share), linewidth=0.9 + 1.3 * share**3,
                alpha=0.35 + 0.65 * share, zorder=2 + share,
            )  # fmt: skip
        _parallel_scales(axes, columns)
        label = f"Values of each field and the {objective} that they gave; one line per trial"
        return Figure(to_svg(figure, label), "Parallel coordinates")


def _value_axis(objective: str, values: Sequence[float]) -> PlottedAxis:
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    return PlottedAxis(objective, low=low, high=high, log=low > 0 and high / low > 20)


def _parallel_scales(axes: Axes, columns: Sequence[PlottedAxis]) -> None:
    segments = [[(place, 0.0), (place, 1.0)] for place in range(len(columns))]
    axes.add_collection(LineCollection(segments, colors=INK, linewidths=0.8, alpha=0.6))
    for place, column in enumerate(columns):
        for at, text in column.ticks():
            is_last = place == len(columns) - 1
            axes.annotate(
                text, (place, at), xytext=(5 if is_last else -5, 0), textcoords="offset points",
                ha="left" if is_last else "right", va="center", fontsize=8,
            )  # fmt: skip
    names = [column.name.replace(".", ".\n") for column in columns]
    axes.set_xticks(range(len(columns)), names)
    axes.set_yticks([])
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_xlim(-0.55, len(columns) - 0.45)
    axes.set_ylim(-0.06, 1.06)


def importance_plot(shares: Mapping[str, float]) -> Figure:
    """How much of the objective's variance each field explains."""
    names = sorted(shares, key=lambda name: shares[name])
    with panel("study importance", height=max(1.6, 0.7 + 0.36 * len(names))) as (figure, axes):
        axes.barh(names, [shares[name] for name in names], color=BLUE, alpha=0.85, height=0.6)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.set(xlabel="share of the variance", xlim=(0, 1))
        axes.grid(visible=False, axis="y")
        return Figure(to_svg(figure, "Importance of each field"), "Importance")


def cost_plot(trials: Sequence[PlottedTrial]) -> Figure:
    """Worker-seconds of each trial."""
    with panel("study cost", height=3.0) as (figure, axes):
        for state, colour in _COLOURS.items():
            some = [trial for trial in trials if trial.state == state]
            if some:
                axes.bar(
                    [trial.number for trial in some], [trial.worker_seconds for trial in some],
                    color=colour, label=state, width=0.72, alpha=0.85,
                )  # fmt: skip
        axes.set(xlabel="trial", ylabel="worker-seconds")
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.grid(visible=False, axis="x")
        figure.legend(loc="outside lower center", ncols=3)
        return Figure(to_svg(figure, "Worker-seconds of each trial"), "Cost")


def _short(text: str) -> str:
    return text if len(text) <= _MAX_LABEL else f"{text[: _MAX_LABEL - 1]}…"
