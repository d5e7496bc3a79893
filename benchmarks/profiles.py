"""What cProfile found, in few numbers: by package, by function, and what our own calls add up to.

Only the thread that was profiled is in it. A profiler makes Python slower and leaves compiled
code as it is, so this tells what a time consists of, not how long it is.
"""

from __future__ import annotations

import cProfile
import pstats
import re
from collections import defaultdict
from collections.abc import Callable
from typing import Any

NUM_FUNCTIONS = 20


def profiled(work: Callable[[], object], *, count: int = 1) -> dict[str, Any]:
    """Do the work in this thread; the summary for each of `count` things that it did."""
    profile = cProfile.Profile()
    profile.runcall(work)
    return summary(pstats.Stats(profile), count)


def summary(stats: pstats.Stats, count: int) -> dict[str, Any]:
    """Milliseconds of one of `count` things: own time of each package and of the costliest
    functions, and the time of our own functions with all that they call.

    Compiled functions, torch's kernels among them, are `built-in`.
    """
    entries: dict[tuple[str, int, str], Any] = stats.stats  # type: ignore[attr-defined]
    packages: defaultdict[str, float] = defaultdict(float)
    own: defaultdict[str, float] = defaultdict(float)
    ours: defaultdict[str, float] = defaultdict(float)
    for (path, _line, name), (_, _, own_seconds, seconds, _) in entries.items():
        function = f"{package(path)}: {name}"
        packages[package(path)] += own_seconds
        own[function] += own_seconds
        if package(path) in ("darkroom", "benchmarks"):
            ours[function] += seconds
    return {
        "milliseconds": sum(packages.values()) * 1000 / count,
        "by_package": _largest(packages, count),
        "by_function": _largest(own, count),
        "with_callees": _largest(ours, count),
    }


def _largest(seconds: dict[str, float], count: int) -> dict[str, float]:
    ranked = sorted(seconds.items(), key=lambda item: -item[1])[:NUM_FUNCTIONS]
    return {name: round(value * 1000 / count, 4) for name, value in ranked}


def package(path: str) -> str:
    """The package that a profiled file belongs to; "built-in" for compiled functions."""
    if path in ("~", ""):
        return "built-in"
    if match := re.search(r"site-packages/([^/]+)/", path):
        return match[1]
    if match := re.search(r"/(darkroom|benchmarks)/", path):
        return match[1]
    return "python"
