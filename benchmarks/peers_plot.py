"""What the benchmarks of peers measured, as a bar chart: ours against each peer, with intervals.

Its arguments are the picture to write, and the benchmarks' JSON:

    python -m benchmarks.peers_plot docs/peers.png build/benchmarks/peers_*.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

AHEAD, BEHIND = "#22a97d", "#e8833a"


def plot(ratios: list[dict[str, Any]]) -> Figure:
    """A bar from 1 for each row; the whisker is the 95 % interval."""
    figure = Figure(figsize=(9, 1.1 + 0.3 * len(ratios)), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(reversed(ratios)):
        colour = AHEAD if row["median"] >= 1 else BEHIND
        axes.barh(place, row["median"] - 1, left=1, height=0.62, color=colour)
        axes.plot([row["low"], row["high"]], [place, place], color="#333333", linewidth=1.1)
        axes.text(
            max(row["high"], 1) * 1.04, place, f"{row['median']:.2f}", va="center", fontsize=8.5
        )
    axes.set_yticks(range(len(ratios)), [row["what"] for row in reversed(ratios)], fontsize=8.5)
    axes.axvline(1, color="#333333", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xlabel("the peer's time over Darkroom's: right of 1, Darkroom is faster")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return figure


def main() -> None:
    target, *sources = map(Path, sys.argv[1:])
    ratios = [row for source in sources for row in json.loads(source.read_text())["ratios"]]
    plot([row for row in ratios if not row["what"].startswith("the same")]).savefig(target, dpi=110)


if __name__ == "__main__":
    main()
