"""Plots of a training log's columns that come in parts: terms of the loss, groups, blocks.

A part stands behind a slash in its column's name: loss/mse, grad_norm/unet.mid_block.
"""

from __future__ import annotations

from darkroom.pages.page import Figure
from darkroom.pages.plots import TrainingLog, over_steps, plain_log_scale
from darkroom.pages.style import BLUE, GREEN, ORANGE, RED, VIOLET, panel

MAX_LINES = 10
_COLOURS = (BLUE, ORANGE, GREEN, VIOLET, RED)
_DASHES: tuple[object, ...] = ("-", (0, (4, 2)), (0, (1, 1.5)))
_TITLES = {
    "loss": ("Terms of the loss, before their weights", "value"),
    "learning_rate": ("Learning rate of each group", "learning rate"),
    "grad_norm": ("Gradient norm of each block, before clipping", "L2 norm"),
    "param_norm": ("Norm of each block's weights", "L2 norm"),
}


def part_plots(log: TrainingLog) -> list[Figure]:
    """A plot of each kind of column that has parts, those with the largest last values."""
    return [plot for name in _TITLES if (plot := part_plot(log, name)) is not None]


def part_plot(log: TrainingLog, name: str) -> Figure | None:
    """The parts of one kind of column over the steps; None where it has none."""
    parts = [column for column in log.columns if column.startswith(f"{name}/")]
    series = {column.partition("/")[2]: log.series(column) for column in parts}
    if parts and name == "learning_rate":  # the first group's is the column without a part
        series = {"network": log.series(name), **series}
    series = {part: found for part, found in series.items() if found[1]}
    if not series:
        return None
    shown = sorted(series, key=lambda part: -abs(series[part][1][-1]))[:MAX_LINES]
    title, label = _TITLES[name]
    if len(shown) < len(series):
        title += f" ({len(shown)} of {len(series)}, the largest)"
    # Some terms fall below 0: what deceives the discriminator has no sign.
    positive = all(value > 0 for part in shown for value in series[part][1])
    with panel(f"parts of {name}", height=3.4) as (figure, axes):
        for number, part in enumerate(shown):
            axes.plot(
                *series[part], label=part, linewidth=1.4,
                color=_COLOURS[number % len(_COLOURS)],
                linestyle=_DASHES[number // len(_COLOURS) % len(_DASHES)],
            )  # fmt: skip
        axes.set_ylabel(label)
        if positive:
            plain_log_scale(axes)
        figure.legend(loc="outside lower center", ncols=2, fontsize=8)
        return over_steps(figure, axes, title, legend=False)
