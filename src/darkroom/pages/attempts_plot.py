"""Where the time of a run's attempts went: one stacked bar per attempt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from darkroom.pages.page import Figure
from darkroom.pages.style import BLUE, GREEN, INK, ORANGE, RED, VIOLET, panel, to_svg

# Blue and green are work, warm colours what faults cost; grey is neither.
_COLOURS = {
    "startup": f"{INK}55",
    "data_wait": ORANGE,
    "useful": GREEN,
    "redone": f"{RED}99",
    "validation": VIOLET,
    "checkpoint": BLUE,
    "lost": RED,
}


@dataclass(frozen=True)
class AttemptBar:
    """One attempt: its name and its seconds by part."""

    name: str
    seconds: Mapping[str, float]


def attempts_plot(bars: Sequence[AttemptBar], names: Mapping[str, str]) -> Figure:
    """A stacked bar per attempt, the first on top.

    names: part -> what the legend calls it, in the order in which parts are stacked.
    """
    with panel("attempts", width=6.4, height=1.7 + 0.36 * len(bars)) as (figure, axes):
        positions = list(range(len(bars)))
        left = [0.0] * len(bars)
        for part, name in names.items():
            widths = [bar.seconds.get(part, 0.0) for bar in bars]
            if any(widths):
                axes.barh(positions, widths, left=left, height=0.62, label=name,
                          color=_COLOURS.get(part, ORANGE), linewidth=0)  # fmt: skip
            left = [start + width for start, width in zip(left, widths, strict=True)]
        axes.set_yticks(positions, [bar.name for bar in bars])
        axes.invert_yaxis()
        axes.set(xlabel="worker-seconds")
        axes.set_xlim(0, 1.02 * max([*left, 1e-9]))
        axes.grid(visible=False, axis="y")
        figure.legend(loc="outside lower center", ncols=4)
        title = "Worker-seconds of each attempt"
        return Figure(to_svg(figure, f"{title} by what they were spent on"), title)
