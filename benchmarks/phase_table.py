"""Where the seconds of several arms go, as a table for a terminal."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

COLUMN = 20


def table_of(phases: Mapping[str, Sequence[Mapping[str, float]]], columns: Sequence[str]) -> str:
    """Medians of each arm's runs, in seconds: a line an arm, a column a phase."""
    width = max(map(len, phases))
    lines = [" " * width + "".join(f"{name:>{COLUMN}}" for name in columns)]
    for arm, runs in phases.items():
        medians = [statistics.median(run[name] for run in runs) for name in columns]
        lines.append(f"{arm:{width}}" + "".join(f"{each:{COLUMN}.2f}" for each in medians))
    return "\n".join(lines)
