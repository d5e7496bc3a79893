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
LEAST = 0.02
"""Where the axis may begin."""


def plot(benchmarks: list[list[dict[str, Any]]]) -> Figure:
    """A bar from 1 for each row; the whisker is the 95 % interval. A gap between benchmarks."""
    ratios: list[dict[str, Any]] = []
    places: list[float] = []
    for rows in benchmarks:
        first = places[-1] + 1.6 if places else 0.0
        ratios += rows
        places += [first + at for at in range(len(rows))]
    figure = Figure(figsize=(9, 1.4 + 0.3 * (places[-1] if places else 0)), layout="constrained")
    axes = figure.subplots()
    for place, row in zip(places, ratios, strict=True):
        colour = AHEAD if row["median"] >= 1 else BEHIND
        # Seconds less those of a start-up may be none.
        low, median, high = (max(row[name], LEAST) for name in ("low", "median", "high"))
        axes.barh(place, median - 1, left=1, height=0.62, color=colour)
        axes.plot([low, high], [place, place], color="#333333", linewidth=1.1)
        axes.text(max(high, 1) * 1.04, place, f"{row['median']:.2f}", va="center", fontsize=8.5)
    axes.set_yticks(places, [row["what"] for row in ratios], fontsize=8.5)
    axes.invert_yaxis()
    axes.axvline(1, color="#333333", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xlabel("the peer's time over Darkroom's: right of 1, Darkroom is faster")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return figure


def shown(ratios: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without rows that say the same again."""
    return [row for row in ratios if not row["what"].startswith("the same")]


def main() -> None:
    target, *sources = map(Path, sys.argv[1:])
    benchmarks = [json.loads(source.read_text())["ratios"] for source in sources]
    plot([shown(ratios) for ratios in benchmarks]).savefig(target, dpi=110)


if __name__ == "__main__":
    main()
