"""A run's figures as Prometheus metrics, through Ray's own endpoint on each node.

Ray prefixes every name with `ray_`. All are gauges tagged with `run`, the run's output URI, and
`part`: a part of the goodput account, a term of the loss, a group of parameters, a block of the
network; empty for what is of the whole. They live in the run's monitor, so they are there for as
long as the run is. Charts and alerts use these names: `METRICS` is what they are held to.

Ray exports a gauge once for each time it is set, and a scrape after that finds it gone. All are
therefore set anew with every look of the driver, about once a second.
"""

from __future__ import annotations

import string
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from ray.util.metrics import Gauge

from darkroom.jobs.training.goodput import Part

PREFIX = "darkroom_train_"

OF_THE_LOG = {
    "epoch": "Epoch of the data that the newest logged step is in",
    "loss": "Training loss, mean since the logged step before",
    "validation_loss": "Loss of the EMA weights on fixed validation images",
    "learning_rate": "Learning rate",
    "grad_norm": "Global gradient norm before clipping",
    "param_norm": "Global norm of the weights",
    "images_per_second": "Images that all workers trained on per second",
    "data_wait_share": "Share of rank 0's time spent waiting for data",
    "memory_bytes": "Memory of rank 0: peak allocated on a GPU, else resident",
    "micro_batch_size": "Images of one forward pass; halved where memory does not suffice",
}
"""Columns of the metrics log, as they were last logged."""

OF_THE_RUN = {
    "step": "Optimizer steps done",
    "checkpoint_step": "Step of the newest checkpoint that can be resumed from",
    "checkpoint_age_seconds": "Seconds of training since the newest published checkpoint",
    "worker_seconds": "Worker-seconds of the whole run by part, all attempts together",
    "goodput": "Useful share of all worker-seconds so far",
}

METRICS = {PREFIX + name: text for name, text in (OF_THE_LOG | OF_THE_RUN).items()}
"""Every metric that a training run exports, without Ray's prefix."""


class RunGauges:
    """One run's gauges in the process that makes this."""

    def __init__(self, run: str) -> None:
        self._gauges = {
            name: Gauge(
                name,
                description=text,
                tag_keys=("run", "part"),
            )
            for name, text in METRICS.items()
        }
        for gauge in self._gauges.values():
            # Ray takes ASCII alone.
            gauge.set_default_tags({"run": quote(run, safe=string.printable)})
        self._published_at = time.monotonic()
        self._shown: dict[tuple[str, str], float] = {}

    def show_row(self, row: Mapping[str, Any]) -> None:
        """A row of the metrics log; what it lacks stays as it was."""
        for column, value in row.items():
            name, _, part = column.partition("/")
            if name in OF_THE_LOG and value is not None:
                self._set(name, value, part)

    def show_step(self, step: int, *, rank: int) -> None:
        """A rank's sign of life; the age of the newest checkpoint goes on with it."""
        if rank == 0:
            self._set("step", step)
            self._set("checkpoint_age_seconds", time.monotonic() - self._published_at)

    def show_checkpoint(self, step: int) -> None:
        """A checkpoint was published."""
        self._published_at = time.monotonic()
        self._set("checkpoint_step", step)
        self._set("checkpoint_age_seconds", 0.0)

    def show_goodput(self, worker_seconds: Mapping[Part, float]) -> None:
        """Totals by part; and everything else again."""
        for (name, part), value in list(self._shown.items()):
            self._set(name, value, part)
        for part, seconds in worker_seconds.items():
            self._set("worker_seconds", seconds, part)
        total = sum(worker_seconds.values())
        self._set("goodput", worker_seconds["useful"] / total if total else 0.0)

    def _set(self, name: str, value: float, part: str = "") -> None:
        self._shown[name, part] = value
        self._gauges[PREFIX + name].set(float(value), tags={"part": part})
