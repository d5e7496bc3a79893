"""One stage on one piece: no row is lost without a word, and bad memory costs single rows."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa
import pytest

from darkroom.errors import DarkroomError, DataError
from darkroom.jobs.batch.stage import Stage, is_out_of_memory, run_stage
from darkroom.jobs.rejects import Rejects

ROWS = pa.table({"id": ["a", "b", "c", "d"], "x": [1, 2, 3, 4]})


class Marks:
    """Counts as the actor does, with what an earlier worker left behind."""

    def __init__(self, *left_behind: str) -> None:
        self.begun = Counter(left_behind)

    def begin(self, row_id: str) -> int:
        self.begun[row_id] += 1
        return self.begun[row_id]

    def end(self, row_id: str) -> None:
        del self.begun[row_id]


def stage(name: str, **values: Any) -> Stage:
    return Stage(name=name, make=lambda: keep, num_workers=1, **values)


def keep(table: pa.Table, _: Rejects) -> pa.Table:
    return table


def test_a_stage_may_leave_out_what_it_rejects() -> None:
    def reject_b(table: pa.Table, rejects: Rejects) -> pa.Table:
        rejects.add("b", "bad", "it is b")
        return table.take([0, 2, 3])

    rejects = Rejects("test")
    result = run_stage(stage("test"), reject_b, ROWS, rejects, None)
    assert result["id"].to_pylist() == ["a", "c", "d"]
    assert [(reject.id, reject.stage, reject.reason) for reject in rejects.found] == [
        ("b", "test", "bad")
    ]


@pytest.mark.parametrize(
    ("order", "rejected"),
    [
        ([0, 1, 2], []),
        ([0, 1, 2, 3, 3], []),
        ([1, 0, 2, 3], []),
        ([0, 1, 2, 3], ["b"]),
        ([0, 2, 3], ["b", "b"]),
        ([0, 2, 3], ["z"]),
    ],
    ids=["lost", "doubled", "moved", "kept and rejected", "rejected twice", "unknown"],
)
def test_rows_that_do_not_add_up_stop_the_job(order: list[int], rejected: list[str]) -> None:
    def faulty(table: pa.Table, rejects: Rejects) -> pa.Table:
        for row_id in rejected:
            rejects.add(row_id, "bad", "")
        return table.take(order)

    with pytest.raises(DarkroomError, match="must return every row"):
        run_stage(stage("test"), faulty, ROWS, Rejects("test"), None)


def doubled(kept: pa.Table, made: pa.Table) -> bool:
    ids = kept["id"].to_pylist()
    return sorted(made["id"].to_pylist()) == sorted([*ids, *(f"{name}~1" for name in ids)])


def test_a_stage_may_make_other_rows_where_it_can_tell_which() -> None:
    def double(table: pa.Table, rejects: Rejects) -> pa.Table:
        rejects.add("b", "bad", "")
        return pa.table({"id": ["a~1", "a", "c", "c~1", "d", "d~1"]})

    def lose(table: pa.Table, rejects: Rejects) -> pa.Table:
        return pa.table({"id": ["a", "a~1"]})

    doubling = stage("augment", check=doubled)
    assert len(run_stage(doubling, double, ROWS, Rejects("augment"), None)) == 6
    with pytest.raises(DarkroomError, match="must return every row"):
        run_stage(doubling, lose, ROWS, Rejects("augment"), None)


def test_an_error_names_stage_rows_and_cause_in_one_line() -> None:
    def fails(table: pa.Table, rejects: Rejects) -> pa.Table:
        raise RuntimeError("first line\nsecond")

    with pytest.raises(DarkroomError) as caught:
        run_stage(stage("draw"), fails, ROWS, Rejects("draw"), None)
    assert str(caught.value) == (
        "draw failed on the 4 rows from 'a' on: RuntimeError: first line second"
    )


def test_our_own_errors_keep_their_type() -> None:
    def fails(table: pa.Table, rejects: Rejects) -> pa.Table:
        raise DataError("input", "x", "has changed")

    with pytest.raises(DataError, match="has changed"):
        run_stage(stage("read"), fails, ROWS, Rejects("read"), None)


def test_memory_that_comes_back_changes_nothing() -> None:
    tries: list[int] = []

    def tight(table: pa.Table, rejects: Rejects) -> pa.Table:
        tries.append(len(table))
        if len(tries) == 1:
            rejects.add("a", "half", "a try that failed must leave no rejects behind")
            raise MemoryError
        return table

    rejects = Rejects("test")
    assert run_stage(stage("test"), tight, ROWS, rejects, None).equals(ROWS)
    assert tries == [4, 4]
    assert not rejects.found


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: not enough memory: you tried")]
)
def test_a_row_too_large_for_the_memory_is_rejected_alone(error: Exception) -> None:
    def tight(table: pa.Table, rejects: Rejects) -> pa.Table:
        if "c" in table["id"].to_pylist():
            raise error
        return table

    rejects = Rejects("test")
    result = run_stage(stage("test"), tight, ROWS, rejects, None)
    assert result["id"].to_pylist() == ["a", "b", "d"]
    assert [(reject.id, reject.reason) for reject in rejects.found] == [("c", "out_of_memory")]
    assert rejects.found[0].traceback is not None


def test_other_runtime_errors_are_not_taken_for_memory() -> None:
    assert not is_out_of_memory(RuntimeError("shapes differ"))
    assert not is_out_of_memory(ValueError("not enough memory of names"))


def test_a_row_that_killed_its_worker_is_rejected_and_the_rest_go_on() -> None:
    sizes: list[int] = []

    def count(table: pa.Table, _: Rejects) -> pa.Table:
        sizes.append(len(table))
        return table

    marks, rejects = Marks("c"), Rejects("test")
    result = run_stage(stage("test"), count, ROWS, rejects, marks)
    assert result["id"].to_pylist() == ["a", "b", "d"]
    assert sizes == [1, 1, 1]
    assert [(reject.id, reject.reason) for reject in rejects.found] == [("c", "killed_worker")]
    assert set(marks.begun) == {"c"}, "rows that ended are forgotten, the killer is not"


def test_a_piece_of_killers_alone_is_empty_afterwards() -> None:
    rejects = Rejects("test")
    result = run_stage(stage("test"), keep, ROWS, rejects, Marks("a", "b", "c", "d"))
    assert len(result) == 0
    assert len(rejects.found) == 4


def test_an_empty_piece_is_not_worth_a_call() -> None:
    def never(table: pa.Table, rejects: Rejects) -> pa.Table:
        raise AssertionError

    assert len(run_stage(stage("test"), never, ROWS.slice(0, 0), Rejects("test"), None)) == 0
