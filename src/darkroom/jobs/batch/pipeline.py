"""The Ray side of a batch job: pieces stream through the stages, and the last step commits them.

    driver: pieces -> [stage] -> [stage] -> ... -> write: files + commit record -> receipts

Each stage is an operator of one streaming Ray Data pipeline with workers of its own, so they
overlap; what crosses between two is a packed piece (`piece.py`). Ray runs a piece again when its
worker dies, as often as finding its bad rows takes; how often is counted outside the workers
(`Tries`), so that a row that kills every worker is found and rejected.
"""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import pyarrow as pa
import ray
import ray.data
from ray.data import ActorPoolStrategy, TaskPoolStrategy
from ray.exceptions import RayError

from darkroom.jobs.batch.commits import Commit, parse_commit
from darkroom.jobs.batch.committer import Commits
from darkroom.jobs.batch.piece import Piece, pack, unpack
from darkroom.jobs.batch.preflight import check_fits
from darkroom.jobs.batch.stage import Stage, StageFunction, Workers, run_stage
from darkroom.jobs.capacity import gpus_of_nodes, most_cpus
from darkroom.jobs.ray_data import TASK_RETRIES, darkroom_errors, map_bounded, quiet_data_context
from darkroom.jobs.rejects import Rejects

_TASKS_WAITING = 2000
"""Without stages: tasks that Ray knows of at once; more than a cluster has CPUs."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the driver learns of a committed piece."""

    commit: Commit
    busy_seconds: Mapping[str, float]
    """Seconds of work per stage, by the stage's name."""


class Tries:
    """A small actor that outlives the workers: what was begun, and not ended."""

    def __init__(self) -> None:
        self._begun: dict[tuple[str, int, str], int] = {}

    def begin(self, stage: str, piece: int, row_id: str = "") -> int:
        key = (stage, piece, row_id)
        self._begun[key] = self._begun.get(key, 0) + 1
        return self._begun[key]

    def end(self, stage: str, piece: int, row_id: str = "") -> None:
        self._begun.pop((stage, piece, row_id), None)


@dataclass(frozen=True, slots=True)
class _Marks:
    """`Tries` as one worker asks it about one piece. Without an answer a try is the first."""

    tries: Any
    stage: str
    piece: int

    def begin(self, row_id: str = "") -> int:
        with suppress(RayError):
            count: int = ray.get(self.tries.begin.remote(self.stage, self.piece, row_id))
            return count
        return 1

    def end(self, row_id: str = "") -> None:
        self.tries.end.remote(self.stage, self.piece, row_id)


@dataclass(frozen=True, slots=True)
class _Work:
    """One stage's work on a piece, and the commit where that is its too."""

    stage: Stage
    tries: Any
    max_restarts: int
    committer: Commits | None = None

    def run(self, packed: pa.Table, function: StageFunction) -> pa.Table:
        piece, stage = unpack(packed), self.stage
        marks = _Marks(self.tries, stage.name, piece.index)
        is_costly = marks.begin() > self.max_restarts + 1
        started = time.perf_counter()
        rejects = Rejects(stage.name)
        piece.table = run_stage(stage, function, piece.table, rejects, marks if is_costly else None)
        piece.rejects += rejects.found
        commit = None if self.committer is None else self.committer.commit(piece)
        piece.busy_seconds[stage.name] = time.perf_counter() - started
        packed = pack(piece) if commit is None else _receipt(commit, piece)
        marks.end()
        return packed


def stream(
    pieces: Sequence[Piece],
    stages: Sequence[Stage],
    committer: Commits,
    *,
    writing: Workers | None,
    max_restarts: int,
) -> Generator[Receipt, None, None]:
    """Run the pieces; yields a receipt as each is committed, in no fixed order.

    writing: the workers that commit; None where the last stage does.
    Errors: ConfigError when the pipeline does not fit the cluster; DarkroomError of a stage.
    """
    everything = [*stages, writing] if writing else list(stages)
    check_fits(everything, num_cpus=most_cpus(), gpus_of_nodes=gpus_of_nodes())
    remote: Any = ray.remote
    tries = remote(Tries).options(num_cpus=0, max_restarts=-1).remote()
    try:
        with quiet_data_context(preserve_order=False), darkroom_errors():
            dataset = ray.data.from_blocks([pack(piece) for piece in pieces])
            # The whole piece, then each of its rows alone.
            num_tries = max_restarts + max(len(piece.table) for piece in pieces) + TASK_RETRIES
            for number, stage in enumerate(stages):
                # More workers than pieces would have nothing to do.
                at_once = min(stage.num_workers or len(pieces), len(pieces))
                fitting = replace(stage, num_workers=at_once)
                own = committer if stage.commits else None
                work = _Work(fitting, tries, max_restarts, own)
                dataset = _add(dataset, work, number, num_tries)
            if writing:
                dataset = map_bounded(
                    dataset, _commit_task, fn_args=(committer, writing.name),
                    compute=TaskPoolStrategy(writing.num_workers),
                    batch_size=1, batch_format="pyarrow", num_cpus=writing.num_cpus,
                    memory=len(stages) + 1,
                )  # fmt: skip
            for bundle in dataset.iter_internal_ref_bundles():
                for entry in bundle.blocks:
                    yield from _receipts(ray.get(entry.ref))
    finally:
        with suppress(RayError, RuntimeError):  # the cluster may be what failed
            ray.kill(tries)


def commit_all(
    pieces: Sequence[Piece], committer: Commits, step: Workers
) -> Generator[Receipt, None, None]:
    """Commit pieces that need no stage, each in a task of its own; yields like `stream`.

    Errors: ConfigError when a worker does not fit the cluster; those of the committer.
    """
    check_fits([step], num_cpus=most_cpus(), gpus_of_nodes=gpus_of_nodes())
    remote: Any = ray.remote
    task = remote(_commit_task).options(num_cpus=step.num_cpus, max_retries=TASK_RETRIES)
    left = iter(pieces)
    waiting: list[Any] = []
    try:
        with darkroom_errors():
            while True:
                # Each look at what has ended goes through all that wait, so these are bounded.
                some = islice(left, _TASKS_WAITING - len(waiting))
                waiting += [task.remote(pack(piece), committer, step.name) for piece in some]
                if not waiting:
                    return
                (done,), waiting = ray.wait(waiting)
                yield from _receipts(ray.get(done))
    finally:
        with suppress(RayError, RuntimeError):  # the cluster may be what failed
            for task_left in waiting:
                ray.cancel(task_left)


def num_workers(step: Workers) -> int:
    """Workers that the stage has, or that the cluster now has CPUs for."""
    if step.num_workers is not None:
        return step.num_workers
    present: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return max(1, int(present.get("CPU", 1) / step.num_cpus))


def _add(dataset: ray.data.Dataset, work: _Work, number: int, num_tries: int) -> ray.data.Dataset:
    stage = work.stage
    # Ray would fuse a stage into the next one where their resources are equal, and so run one
    # after the other: a byte of memory more for each keeps them apart.
    options: dict[str, Any] = {"num_cpus": stage.num_cpus, "memory": number + 1}
    if stage.num_gpus:
        options["num_gpus"] = stage.num_gpus
    if stage.actor:
        pool = ActorPoolStrategy(size=stage.num_workers, max_tasks_in_flight_per_actor=2)
        return map_bounded(
            dataset, _StageActor, fn_constructor_args=(work,), compute=pool,
            max_task_retries=num_tries, batch_size=1, batch_format="pyarrow", **options,
        )  # fmt: skip
    return map_bounded(
        dataset, _stage_task, fn_args=(work,), compute=TaskPoolStrategy(stage.num_workers),
        max_retries=num_tries, batch_size=1, batch_format="pyarrow", **options,
    )  # fmt: skip


class _StageActor:
    def __init__(self, work: _Work) -> None:
        self._work, self._function = work, work.stage.make()

    def __call__(self, packed: pa.Table) -> pa.Table:
        return self._work.run(packed, self._function)


def _stage_task(packed: pa.Table, work: _Work) -> pa.Table:
    return work.run(packed, work.stage.make())


def _commit_task(packed: pa.Table, committer: Commits, name: str) -> pa.Table:
    """The last operator: what remains of a piece is its receipt."""
    started = time.perf_counter()
    piece = unpack(packed)
    commit = committer.commit(piece)
    piece.busy_seconds[name] = time.perf_counter() - started
    return _receipt(commit, piece)


def _receipt(commit: Commit, piece: Piece) -> pa.Table:
    busy = json.dumps(piece.busy_seconds)
    return pa.table({"commit": [commit.to_json()], "busy_seconds": [busy]})


def _receipts(table: pa.Table) -> Iterator[Receipt]:
    for row in table.to_pylist():
        commit = parse_commit(row["commit"], uri="a receipt")
        yield Receipt(commit, json.loads(row["busy_seconds"]))
