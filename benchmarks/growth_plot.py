"""The measurements of `benchmarks.growth` as a picture: seconds over size, on logarithmic axes.

python -m benchmarks.growth_plot build/benchmarks/growth.json docs/growth.png
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Row = dict[str, Any]
PANELS = {
    "seconds": ("seconds", 1e-3),
    "driver_mb": ("MB in the driver, beyond what it held (at least 1)", 1.0),
}
"""Of each value its label, and the least that is told from noise."""
COLOURS = ("#4a8df0", "#e8833a", "#22a97d", "#9a6be0", "#e0527a", "#8a8f98", "#b59a1e", "#3fb5c4")
STYLES = ("-", "--", ":")


def plot(rows: list[Row]) -> Figure:
    """A panel for each value, a line for each subject, and a grey line of slope 1."""
    figure = Figure(figsize=(12, 5), layout="constrained")
    axes = figure.subplots(1, len(PANELS))
    for value, panel in zip(PANELS, axes, strict=True):
        _panel(panel, rows, value)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False, fontsize=8.5)
    return figure


def _panel(axes: Axes, rows: list[Row], value: str) -> None:
    label, least_value = PANELS[value]
    series: defaultdict[str, defaultdict[int, list[float]]]
    series = defaultdict(lambda: defaultdict(list))
    for row in rows:
        series[row["subject"]][row["n"]].append(max(row[value], least_value))
    for number, (subject, found) in enumerate(series.items()):
        sizes = sorted(found)
        axes.plot(
            sizes, [float(np.median(found[size])) for size in sizes], marker="o", markersize=3.5,
            color=COLOURS[number % len(COLOURS)], label=subject,
            linestyle=STYLES[number // len(COLOURS) % len(STYLES)],
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    least = min(min(found) for found in series.values())
    most = max(max(found) for found in series.values())
    for decade in range(-6, 7):
        axes.plot([least, most], [10.0**decade, 10.0**decade * most / least], color="#c9ccd1",
                  linewidth=0.6, zorder=0)  # fmt: skip
    axes.set_ylim(low, high)
    axes.set_xlabel("rows, files, keys, outputs or trials")
    axes.set_ylabel(label)
    axes.spines[["top", "right"]].set_visible(False)


def main() -> None:
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    rows = json.loads(source.read_text())["details"]["rows"]
    plot(rows).savefig(target, dpi=110)


if __name__ == "__main__":
    main()
