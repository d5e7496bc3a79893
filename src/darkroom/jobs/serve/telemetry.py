"""What the drawing engine counts as Prometheus metrics, through Ray's own endpoint on each node.

Ray prefixes every name with `ray_`, ends a counter's with `_total`, and tags it with deployment and
replica. Charts and alerts use these names: `METRICS` is what they are held to. Requests, errors and
latencies are Serve's own metrics.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray.serve.metrics import Counter, Gauge

PREFIX = "darkroom_serve_"

COUNTED = {
    "drawn": "Pictures drawn",
    "cancelled": "Pictures given up because nobody waited any more",
    "failed": "Pictures that could not be drawn",
    "out_of_memory": "Batches that ran out of the device's memory",
    "begun": "Pictures that took their first step",
    "waited_seconds": "What these waited for their first step, in all",
    "steps": "Calls of a network",
    "rows": "Pictures moved on by them, in all: by steps, how full batches are",
    "step_seconds": "Spent in steps",
    "busy_seconds": "Spent in all drawing",
}
"""As `Counts` of the engine has them: they only grow."""

SHOWN = {
    "waiting": "Pictures that wait for their first step",
    "drawing": "Pictures under way",
    "backlog_seconds": "Seconds of drawing that all of them need",
}

METRICS = {f"{PREFIX}{name}_total": text for name, text in COUNTED.items()} | {
    PREFIX + name: text for name, text in SHOWN.items()
}
"""Every metric that a replica which draws exports, without Ray's prefix."""


class EngineMetrics:
    """One engine's, in the replica that holds it."""

    def __init__(self) -> None:
        self._counters = {name: Counter(PREFIX + name, text) for name, text in COUNTED.items()}
        self._gauges = {name: Gauge(PREFIX + name, text) for name, text in SHOWN.items()}
        self._seen: dict[str, float] = dict.fromkeys(COUNTED, 0.0)

    def show(self, stats: Mapping[str, Any]) -> None:
        """`Engine.stats`; to be called every few seconds, for Ray exports a gauge only once."""
        for name, counter in self._counters.items():
            # Ray refuses to count on by nothing.
            if (more := stats[name] - self._seen[name]) > 0:
                counter.inc(more)
                self._seen[name] = stats[name]
        for name, gauge in self._gauges.items():
            gauge.set(float(stats[name]))
