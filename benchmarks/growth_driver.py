"""Growth of what a driver does alone: a training plan over many rows, a study of many trials."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.growth_meter import counting_server, metered
from tests.helpers.tune_runs import SPACE

from darkroom.config import build_config
from darkroom.jobs.artifacts.row_groups import RowGroups
from darkroom.jobs.training.plan import Batching, DataPlan, Order
from darkroom.jobs.tune.config import TuneConfig
from darkroom.jobs.tune.crew import NextErrand, Watch
from darkroom.jobs.tune.job import run_trials
from darkroom.jobs.tune.study import Ending, Study
from darkroom.jobs.tune.trial import Errand

GROUP_ROWS, FILE_GROUPS = 256, 20
"""As `prepare` cuts photographs: 256 rows in a row group, a file of 128 MB."""
BATCH_SIZE, SHUFFLE_WINDOW = 4096, 16
STEPS = (10**6, 17, 10**9)


def plan(num_rows: int) -> None:
    """A plan of so many rows whose order is computed."""
    _plan(num_rows, "computed")


def drawn_plan(num_rows: int) -> None:
    """The same with an order that is drawn."""
    _plan(num_rows, "drawn")


def _plan(num_rows: int, order: Order) -> None:
    """To build it, and the slowest of some seeks: `seconds` is the latter."""
    sizes = [*[GROUP_ROWS] * (FILE_GROUPS - 1), GROUP_ROWS - 7]
    num_files = -(-num_rows // (GROUP_ROWS * FILE_GROUPS))
    with metered(f"plan, {order}", num_rows) as row:
        started = time.perf_counter()
        groups = RowGroups.of_files(
            ((f"data/train/part-{file:05d}.parquet", sizes) for file in range(num_files)), num_rows
        )
        steps = DataPlan(
            groups, seed=0, shuffle_window=SHUFFLE_WINDOW, order=order,
            batching=Batching(BATCH_SIZE, 64, 5),
        )  # fmt: skip
        row["build_seconds"] = time.perf_counter() - started
        row["seconds"] = max(_seek(steps, step) for step in STEPS)
        row["row_groups"] = len(groups)


def _seek(steps: DataPlan, step: int) -> float:
    started = time.perf_counter()
    assert len(steps.rows(step)) == steps.batching.size
    return time.perf_counter() - started


class FormulaCrew:
    """Trials that are a formula: what is left is the study."""

    def work(self, following: NextErrand, watch: Watch) -> Iterator[tuple[Errand, Ending | None]]:
        while (errand := following()) is not None:
            yield errand, self._ending(errand, watch)

    def _ending(self, errand: Errand, watch: Watch) -> Ending:
        worth = (math.log10(errand.tried["optimizer.learning_rate"]) + 2.5) ** 2
        for step in (10, 30, 90):
            if watch(errand, step, worth + 1 / step):
                return Ending(state="stopped", step=step, worker_seconds=1.0)
        return Ending(state="complete", value=worth, step=90, worker_seconds=3.0)


def tune(num_trials: int) -> None:
    """A study of so many trials, with halving, its journal on S3; and reading it again."""
    with counting_server() as server, tempfile.TemporaryDirectory(prefix="darkroom-bench-") as data:
        values: dict[str, Any] = {
            "input": data, "output": "s3://benchmark/study", "space": SPACE,
            "run": {
                "max_steps": 90, "lr_schedule": {"warmup_steps": 5},
                "checkpoint": {"every_steps": 10}, "validation": {"every_steps": 10},
            },
            "search": {"kind": "bayes", "num_trials": num_trials, "num_random": 10},
            "halving": {"first_rung": 10, "reduction_factor": 3},
        }  # fmt: skip
        config = build_config(TuneConfig, values)
        with metered("tune, stand-in trials", num_trials, server=server):
            run_trials(Study(config, lambda: None), config, FormulaCrew())
        with metered("tune, opened again", num_trials, server=server):
            assert len(Study(config, lambda: None).ended()) == num_trials
