"""What the training benchmarks train: the recipe `digits`, on real digits in a real S3 server.

Batches are half of the recipe's, which makes a step of some tens of milliseconds: short enough
for what is added to each step to show, and for many rounds.

The data is prepared once by `darkroom prepare`, and every run is the command in a process of its
own with a Ray of its own, as users start it.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.helpers.training import running

from darkroom.config import build_config
from darkroom.jobs.prepare.config import PrepareConfig
from darkroom.jobs.train.config import TrainConfig
from darkroom.recipes.digits import digits
from darkroom.storage import EmbeddedServer

BUCKET = "benchmark"
BATCH_SIZE = 64


@dataclass(frozen=True)
class Digits:
    """The prepared data, and where runs may write."""

    data: str
    folder: Path
    """For what is no output: configs, logs."""
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def config(self, **changes: Any) -> TrainConfig:
        """The recipe's settings with changes, into an output of its own."""
        values = {
            **digits().settings(TrainConfig),
            "batch_size": BATCH_SIZE,
            "input": self.data,
            "output": f"s3://{BUCKET}/run-{next(self._numbers):03d}",
        }
        for name, value in changes.items():
            is_section = isinstance(value, dict)
            values[name] = {**values.get(name, {}), **value} if is_section else value
        return build_config(TrainConfig, values)


@contextmanager
def prepared_digits() -> Iterator[Digits]:
    """Start an S3 server that the environment names, and publish the digits there."""
    with tempfile.TemporaryDirectory(prefix="darkroom-bench-") as name:
        folder = Path(name)
        with EmbeddedServer(folder / "s3", bucket=BUCKET) as server:
            os.environ.update(server.environment)
            values = {**digits().settings(PrepareConfig), "output": f"s3://{BUCKET}/data"}
            with running("prepare", values, folder / "prepare") as run:
                assert run.wait() == 0, run.log.read_text()[-4000:]
            yield Digits(str(values["output"]), folder)
