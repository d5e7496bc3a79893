"""What a stage of a batch pipeline is, and how one is run on one piece.

A stage sees a piece's whole table and returns it whole: same rows in the same order, less those
that it rejects (or several rows of each, where its `check` knows which). It groups rows into
batches as it likes, independent of other stages; since pieces never change, a redone row meets the
same neighbours and gives equal bytes.

A piece that costs several workers (killed for memory, crashed in a decoder), or runs out of
memory by itself, is run in the careful way: row by row, and the rows that fail alone are
rejected. Only there may a batch be composed otherwise than in an undisturbed run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, Self

import pyarrow as pa
import pyarrow.compute as pc

from darkroom.errors import DarkroomError
from darkroom.jobs.batch.config import WorkerPool
from darkroom.jobs.rejects import Rejects

ID = "id"
"""The column that names a row, in the input and in the output."""

StageFunction = Callable[[pa.Table, Rejects], pa.Table]
RowCheck = Callable[[pa.Table, pa.Table], bool]
"""(rows that were not rejected, rows of the result) -> whether these are right."""

_MEMORY_TRIES = 2


@dataclass(frozen=True, kw_only=True)
class Workers:
    """Those of one step, and what Ray reserves for each."""

    name: str
    """Named as the bottleneck and in dead letters: "read", "decode", "model"."""
    num_workers: int | None
    """Actors (never more, never fewer), or pieces at once; None: as many as the cluster has CPUs
    for, its autoscaler included."""
    actor: bool = False
    """Keep what was made (a model) in a process of its own."""
    num_cpus: float = 1.0
    num_gpus: float = 0.0

    @property
    def num_held(self) -> int:
        """How many must be there at once: all actors, but one of other workers."""
        return (self.num_workers or 1) if self.actor else 1


@dataclass(frozen=True, kw_only=True)
class Stage(Workers):
    """One step of a pipeline and the workers that run it."""

    make: Callable[[], StageFunction]
    """Picklable; called once per actor, or once per piece for a stage without one."""
    commits: bool = False
    """Its workers write and commit the piece themselves: for a last stage of many workers, which
    saves sending their results to others. Not for actors, which have better things to do."""
    check: RowCheck | None = None
    """Whether its result has the right rows, where these are not the ones that it got."""

    @classmethod
    def of(
        cls, pool: WorkerPool, *, name: str, make: Callable[[], StageFunction], actor: bool = False
    ) -> Self:
        """A stage with the workers that a config says."""
        return cls(
            name=name,
            make=make,
            actor=actor,
            num_workers=pool.num_workers,
            num_cpus=pool.reserved_cpus,
            num_gpus=pool.num_gpus,
        )


WRITING = Workers(name="write", num_workers=None, num_cpus=0.5)
"""Those that commit finished pieces: they mostly wait for the store."""
MERGING = Workers(name="merge", num_workers=None)
"""Those that merge committed pieces."""


class RowMarks(Protocol):
    """Remembers, outside the worker, which rows were begun and not ended."""

    def begin(self, row_id: str) -> int:
        """How often this row has now been begun."""

    def end(self, row_id: str) -> None:
        """The row did not kill its worker."""


def run_stage(
    stage: Stage, function: StageFunction, table: pa.Table, rejects: Rejects, marks: RowMarks | None
) -> pa.Table:
    """`function` on one piece, checked: no row is lost, doubled or moved without a word.

    marks: given when the piece has cost too many workers already.
    Errors: DarkroomError naming the stage and the rows.
    """
    if not len(table):
        return table
    if marks is not None:
        result = _by_rows(stage.name, function, table, rejects, marks)
    else:
        result = _whole(stage.name, function, table, rejects)
    _check_rows(stage, table, result, rejects)
    return result


def _whole(stage: str, function: StageFunction, table: pa.Table, rejects: Rejects) -> pa.Table:
    for _ in range(_MEMORY_TRIES):
        tried = Rejects(stage)
        try:
            result = function(table, tried)
        except Exception as error:
            if not is_out_of_memory(error):
                raise failed(stage, table, error) from error
        else:
            rejects.found += tried.found
            return result
    return _by_rows(stage, function, table, rejects, None)


def _by_rows(
    stage: str,
    function: StageFunction,
    table: pa.Table,
    rejects: Rejects,
    marks: RowMarks | None,
) -> pa.Table:
    results = list(_one_by_one(stage, function, table, rejects, marks))
    # Without any row nobody knows the stage's schema, and nobody will ask for it.
    return pa.concat_tables(results).combine_chunks() if results else table.slice(0, 0)


def _one_by_one(
    stage: str, function: StageFunction, table: pa.Table, rejects: Rejects, marks: RowMarks | None
) -> Iterator[pa.Table]:
    for index, row_id in enumerate(table[ID].to_pylist()):
        if marks is not None and marks.begin(row_id) > 1:
            rejects.add(row_id, "killed_worker", f"the worker died on this row alone in {stage}")
            continue
        row = table.slice(index, 1)
        try:
            yield function(row, rejects)
        except Exception as error:
            if not is_out_of_memory(error):
                raise failed(stage, row, error) from error
            rejects.add_error(row_id, "out_of_memory", error)
        finally:
            if marks is not None:
                marks.end(row_id)


def is_out_of_memory(error: BaseException) -> bool:
    """Python's own, torch's on a GPU, and torch's on a CPU (which is a plain RuntimeError)."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and "not enough memory" in str(error)


def failed(stage: str, table: pa.Table, error: Exception) -> DarkroomError:
    """What stopped the job; our own errors as they are."""
    if isinstance(error, DarkroomError):
        return error
    text = " ".join(str(error).split())
    return DarkroomError(f"{stage} failed on {_shown(table)}: {type(error).__name__}: {text}")


def _shown(table: pa.Table) -> str:
    first = table[ID][0].as_py()
    return f"row {first!r}" if len(table) == 1 else f"the {len(table)} rows from {first!r} on"


def _check_rows(stage: Stage, before: pa.Table, after: pa.Table, rejects: Rejects) -> None:
    gone = [reject.id for reject in rejects.found]
    stays = pc.invert(pc.is_in(before[ID], pa.array(gone, pa.string())))
    kept = before[ID].filter(stays)
    known = len(kept) + len(set(gone)) == len(before) and len(set(gone)) == len(gone)
    if stage.check is None:
        fits = after[ID].to_pylist() == kept.to_pylist()
    else:
        fits = stage.check(before.filter(stays), after)
    if not (known and fits):
        raise DarkroomError(
            f"{stage.name} got {len(before)} rows, returned {len(after)} and rejected {len(gone)}: "
            "it must return every row that it does not reject, in order "
            "(this is a fault in Darkroom: report it)"
        )
