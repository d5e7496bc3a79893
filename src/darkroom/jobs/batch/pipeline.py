"""The Ray side of a batch job: pieces stream through the stages, and the last one commits them.

    driver: pieces -> [stage] -> [stage] -> ... -> write: Parquet part + ledger record -> receipts

Each stage is an operator of one streaming Ray Data pipeline with workers of its own, so they
overlap; what crosses between two is a packed piece (`piece.py`). Ray runs a piece again when its
worker dies, as often as finding its bad rows takes; how often is counted outside the workers
(`Attempts`), so that a row that kills every worker is found and rejected.
"""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import ray
import ray.data
from ray.data import ActorPoolStrategy, TaskPoolStrategy
from ray.exceptions import RayError

from darkroom.jobs.batch.ledger import Record, parse_record
from darkroom.jobs.batch.part import Committer
from darkroom.jobs.batch.piece import Piece, pack, unpack
from darkroom.jobs.batch.preflight import WRITE, WRITER_CPUS, check_fits, writing_stage
from darkroom.jobs.batch.reject import Rejects
from darkroom.jobs.batch.stage import Stage, StageFunction, run_stage
from darkroom.jobs.capacity import gpus_of_nodes, most_cpus
from darkroom.jobs.ray_data import TASK_RETRIES, darkroom_errors, map_bounded, quiet_data_context


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the driver learns of a committed piece."""

    record: Record
    busy_seconds: Mapping[str, float]
    """Seconds of work per stage, by the stage's name."""


class Attempts:
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
    """`Attempts` as one worker asks it about one piece. Without an answer a try is the first."""

    attempts: Any
    stage: str
    piece: int

    def begin(self, row_id: str = "") -> int:
        with suppress(RayError):
            count: int = ray.get(self.attempts.begin.remote(self.stage, self.piece, row_id))
            return count
        return 1

    def end(self, row_id: str = "") -> None:
        self.attempts.end.remote(self.stage, self.piece, row_id)


def stream(
    pieces: Sequence[Piece],
    stages: Sequence[Stage],
    committer: Committer,
    *,
    num_writers: int,
    max_restarts: int,
) -> Generator[Receipt, None, None]:
    """Run the pieces; yields a receipt as each is committed, in no fixed order.

    Errors: ConfigError when the pipeline does not fit the cluster; DarkroomError of a stage.
    """
    everything = [*stages, writing_stage(num_writers)]
    check_fits(everything, num_cpus=most_cpus(), gpus_of_nodes=gpus_of_nodes())
    remote: Any = ray.remote
    attempts = remote(Attempts).options(num_cpus=0, max_restarts=-1).remote()
    try:
        with quiet_data_context(preserve_order=False), darkroom_errors():
            dataset = ray.data.from_blocks([pack(piece) for piece in pieces])
            # The whole piece, then each of its rows alone.
            tries = max_restarts + max(len(piece.table) for piece in pieces) + TASK_RETRIES
            for number, stage in enumerate(stages):
                # More workers than pieces would have nothing to do.
                fitting = replace(stage, num_workers=min(stage.num_workers, len(pieces)))
                dataset = _add(
                    dataset, fitting, number, attempts, max_restarts=max_restarts, tries=tries
                )
            dataset = map_bounded(
                dataset, _commit_task, fn_args=(committer,),
                compute=TaskPoolStrategy(min(num_writers, len(pieces))),
                batch_size=1, batch_format="pyarrow", num_cpus=WRITER_CPUS, memory=len(stages) + 1,
            )  # fmt: skip
            for bundle in dataset.iter_internal_ref_bundles():
                for entry in bundle.blocks:
                    yield from _receipts(ray.get(entry.ref))
    finally:
        with suppress(RayError, RuntimeError):  # the cluster may be what failed
            ray.kill(attempts)


def _add(
    dataset: ray.data.Dataset,
    stage: Stage,
    number: int,
    attempts: Any,
    *,
    max_restarts: int,
    tries: int,
) -> ray.data.Dataset:
    arguments = (stage, attempts, max_restarts)
    # Ray would fuse a stage into the next one where their resources are equal, and so run one
    # after the other: a byte of memory more for each keeps them apart.
    options: dict[str, Any] = {"num_cpus": stage.num_cpus, "memory": number + 1}
    if stage.num_gpus:
        options["num_gpus"] = stage.num_gpus
    if stage.actor:
        pool = ActorPoolStrategy(size=stage.num_workers, max_tasks_in_flight_per_actor=2)
        return map_bounded(
            dataset, _StageActor, fn_constructor_args=arguments, compute=pool,
            max_task_retries=tries, batch_size=1, batch_format="pyarrow", **options,
        )  # fmt: skip
    return map_bounded(
        dataset, _stage_task, fn_args=arguments, compute=TaskPoolStrategy(stage.num_workers),
        max_retries=tries, batch_size=1, batch_format="pyarrow", **options,
    )  # fmt: skip


class _StageActor:
    def __init__(self, stage: Stage, attempts: Any, max_restarts: int) -> None:
        self._stage, self._attempts, self._max_restarts = stage, attempts, max_restarts
        self._function = stage.make()

    def __call__(self, packed: pa.Table) -> pa.Table:
        return _run(packed, self._stage, self._function, self._attempts, self._max_restarts)


def _stage_task(packed: pa.Table, stage: Stage, attempts: Any, max_restarts: int) -> pa.Table:
    return _run(packed, stage, stage.make(), attempts, max_restarts)


def _run(
    packed: pa.Table, stage: Stage, function: StageFunction, attempts: Any, max_restarts: int
) -> pa.Table:
    piece = unpack(packed)
    marks = _Marks(attempts, stage.name, piece.index)
    is_costly = marks.begin() > max_restarts + 1
    started = time.perf_counter()
    rejects = Rejects(stage.name)
    piece.table = run_stage(
        stage.name, function, piece.table, rejects, marks if is_costly else None
    )
    piece.rejects += rejects.found
    piece.busy_seconds[stage.name] = time.perf_counter() - started
    packed = pack(piece)
    marks.end()
    return packed


def _commit_task(packed: pa.Table, committer: Committer) -> pa.Table:
    """The last operator: what remains of a piece is its record."""
    started = time.perf_counter()
    piece = unpack(packed)
    record = committer.commit(piece)
    busy = {**piece.busy_seconds, WRITE: time.perf_counter() - started}
    return pa.table({"record": [record.to_json()], "busy_seconds": [json.dumps(busy)]})


def _receipts(table: pa.Table) -> Iterator[Receipt]:
    for row in table.to_pylist():
        record = parse_record(row["record"], uri="a receipt")
        yield Receipt(record, json.loads(row["busy_seconds"]))
