"""Stages and a config for tests of the batch core: cheap, picklable, able to fail on command."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import psutil
import pyarrow as pa
from tests.helpers.killing import records

from darkroom.config import operational
from darkroom.jobs.batch.config import BatchConfig
from darkroom.jobs.batch.stage import Stage
from darkroom.jobs.rejects import Rejects

SCHEMA = pa.schema([("id", pa.string()), ("value", pa.int64()), ("neighbours", pa.int64())])


class SumConfig(BatchConfig):
    """Adds numbers up: every row's result tells which rows shared its batch."""

    input: Annotated[str, operational(min_length=1)] = "numbers"


def rows(count: int) -> pa.Table:
    """Rows r000, r001, ... with their number."""
    return pa.table({"id": [f"r{i:03d}" for i in range(count)], "number": list(range(count))})


def fill_memory() -> None:
    """Take 2 GiB a second, as a worker does that was given too much, until it is stopped."""
    held = []
    # Others may give memory back meanwhile: what is left decides, not what was taken.
    while psutil.virtual_memory().available > 3 * 2**30:
        held.append(np.ones(2**23))
        time.sleep(0.03)  # so that it is caught before it has everything
    raise AssertionError(f"nobody stopped a worker that holds {len(held) // 16} GiB")


@dataclass(frozen=True)
class Trouble:
    """What goes wrong with which row. `scene` is a folder where a fault notes that it happened."""

    kind: str = ""
    row_id: str = ""
    scene: str = ""
    """Of "wait for pieces": where the run's output is."""
    num_pieces: int = 0
    """Of "wait for pieces": so many committed ones are waited for."""

    def strike(self, ids: list[str]) -> None:
        """Do it, when the row is among `ids`."""
        if not self.kind or self.row_id not in ids:
            return
        if self.kind == "kill once" and self._is_first():
            os.kill(os.getpid(), signal.SIGKILL)
        if self.kind == "kill always":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.kind == "memory once" and self._is_first():
            raise MemoryError
        if self.kind == "fill memory once" and self._is_first():
            fill_memory()
        if self.kind == "memory always":
            raise MemoryError
        if self.kind == "wait for pieces":
            while len(records(self.scene)) < self.num_pieces:
                time.sleep(0.1)
        if self.kind == "raise":
            raise RuntimeError("this row\nis bad")

    def _is_first(self) -> bool:
        try:
            Path(self.scene, "struck").touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


class Doubler:
    """number -> value; rows whose number is in `bad` are rejected."""

    def __init__(self, bad: tuple[int, ...] = (), trouble: Trouble | None = None) -> None:
        self._bad, self._trouble = bad, trouble or Trouble()

    def __call__(self, table: pa.Table, rejects: Rejects) -> pa.Table:
        self._trouble.strike(table["id"].to_pylist())
        kept = []
        for row in table.to_pylist():
            if row["number"] in self._bad:
                rejects.add(row["id"], "bad_number", f"{row['number']} is bad")
            else:
                kept.append({"id": row["id"], "value": 2 * row["number"]})
        return pa.Table.from_pylist(
            kept, schema=pa.schema([("id", pa.string()), ("value", pa.int64())])
        )


class Neighbours:
    """value -> the sum of all values that share its batch: another composition shows."""

    def __init__(self, trouble: Trouble | None = None) -> None:
        self._trouble = trouble or Trouble()

    def __call__(self, table: pa.Table, _: Rejects) -> pa.Table:
        self._trouble.strike(table["id"].to_pylist())
        total = sum(table["value"].to_pylist())
        return table.append_column("neighbours", pa.array([total] * len(table), pa.int64()))


def stages(
    *,
    bad: tuple[int, ...] = (),
    task_trouble: Trouble | None = None,
    actor_trouble: Trouble | None = None,
    num_actors: int = 1,
) -> list[Stage]:
    """A stage of tasks and one of actors."""
    return [
        Stage(name="double", make=partial(Doubler, bad, task_trouble), num_workers=2),
        Stage(
            name="sum",
            make=partial(Neighbours, actor_trouble),
            num_workers=num_actors,
            actor=True,
            num_cpus=0.5,
        ),
    ]
