"""Two figures of several sets of pictures against each other: what one costs in the other.

As model cards show a sweep over guidance scales: a distance over how well pictures fit what was
asked. Numbers in, a figure for the page out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.ticker import MaxNLocator

from darkroom.pages.page import Figure
from darkroom.pages.plots import Ranged
from darkroom.pages.style import BLUE, GREEN, ORANGE, RED, VIOLET, panel, to_svg

_COLOURS = (BLUE, ORANGE, GREEN, VIOLET, RED)


@dataclass(frozen=True)
class SweepPoint:
    """One set of pictures by two figures."""

    label: str
    """What it was drawn with, beside the point."""
    x: Ranged
    y: Ranged


@dataclass(frozen=True)
class SweepSeries:
    """Points that differ in what is swept alone, in its order; a line joins them."""

    name: str
    """Empty where there is one series."""
    points: Sequence[SweepPoint]


def sweep_plot(series: Sequence[SweepSeries], x_name: str, y_name: str, *, swept: str) -> Figure:
    """y over x, each with its interval. swept: what the labels beside the points are values of."""
    with panel("sweep", width=5.6, height=3.8) as (figure, axes):
        for number, one in enumerate(series):
            colour = _COLOURS[number % len(_COLOURS)]
            x, y = [point.x.value for point in one.points], [point.y.value for point in one.points]
            axes.errorbar(
                x, y,
                xerr=_reach([point.x for point in one.points]),
                yerr=_reach([point.y for point in one.points]),
                fmt="none", ecolor=colour, elinewidth=1, capsize=2, alpha=0.45,
            )  # fmt: skip
            axes.plot(x, y, "o-", color=colour, markersize=5, label=one.name, zorder=3)
            for point in one.points:
                axes.annotate(
                    point.label, (point.x.value, point.y.value), xytext=(6, 6),
                    textcoords="offset points", fontsize=8.5,
                )  # fmt: skip
        axes.set(xlabel=x_name, ylabel=y_name)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.margins(0.12)
        if any(one.name for one in series):
            figure.legend(loc="outside lower center", ncols=2)
        beside = f"; beside each point its {swept}" if swept else ""
        return Figure(to_svg(figure, f"{y_name} over {x_name}"), f"{y_name} over {x_name}{beside}")


def _reach(ranges: Sequence[Ranged]) -> list[list[float]]:
    """How far each interval goes below and above its value."""
    return [
        [max(0.0, one.value - one.lower) for one in ranges],
        [max(0.0, one.upper - one.value) for one in ranges],
    ]
