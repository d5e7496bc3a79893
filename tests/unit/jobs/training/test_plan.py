"""The order of rows is a pure function that loses nothing and repeats nothing."""

from __future__ import annotations

import hashlib
import tracemalloc
from itertools import pairwise
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.jobs.artifacts.row_groups import RowGroup, RowGroups
from darkroom.jobs.training.plan import Batching, DataPlan, Order

sizes = st.lists(st.integers(1, 9), min_size=1, max_size=12)
orders = st.sampled_from(get_args(Order))

COMPUTED = [[39, 32, 15], [33, 36, 37], [27, 25, 28], [19, 34, 21], [24, 35, 39]]


def plan(
    group_sizes: list[int],
    batching: Batching,
    *,
    seed: int = 0,
    window: int = 3,
    order: Order = "drawn",
) -> DataPlan:
    groups = [RowGroup("part", i, size) for i, size in enumerate(group_sizes)]
    return DataPlan(groups, seed=seed, shuffle_window=window, batching=batching, order=order)


@given(sizes, st.integers(1, 7), st.integers(0, 2**32 - 1), st.integers(1, 5), orders)
def test_every_epoch_holds_every_row_once(
    group_sizes: list[int], batch: int, seed: int, window: int, order: Order
) -> None:
    one_by_one = plan(group_sizes, Batching(1), seed=seed, window=window, order=order)
    num_rows = one_by_one.num_rows
    for epoch in range(2):
        met = [int(one_by_one.rows(epoch * num_rows + i)[0]) for i in range(num_rows)]
        assert sorted(met) == list(range(num_rows))
    batched = plan(group_sizes, Batching(batch), seed=seed, window=window, order=order)
    num_batches = -(-2 * num_rows // batch)
    stream = np.concatenate([batched.rows(step) for step in range(num_batches)])[: 2 * num_rows]
    singles = np.concatenate([one_by_one.rows(i) for i in range(2 * num_rows)])
    assert stream.tolist() == singles.tolist()


@given(sizes, st.integers(1, 9), st.integers(0, 60))
def test_a_row_knows_its_epoch(group_sizes: list[int], batch: int, step: int) -> None:
    """A batch may hold a row twice: each time in another epoch."""
    plans = plan(group_sizes, Batching(batch))
    pairs = list(zip(plans.rows(step).tolist(), plans.epochs(step).tolist(), strict=True))
    assert len(set(pairs)) == batch
    assert plans.epochs(step)[0] == plans.epoch_of(step)


@given(sizes, st.integers(1, 20), st.integers(1, 7), st.integers(0, 40))
def test_ranks_share_one_global_batch_whatever_their_number(
    group_sizes: list[int], batch_size: int, num_workers: int, step: int
) -> None:
    whole = plan(group_sizes, Batching(batch_size))
    ranks = [
        plan(group_sizes, Batching(batch_size, num_workers, rank)) for rank in range(num_workers)
    ]
    parts = [rank.rows(step) for rank in ranks]
    assert np.concatenate(parts).tolist() == whole.rows(step).tolist()
    epochs = np.concatenate([rank.epochs(step) for rank in ranks])
    assert epochs.tolist() == whole.epochs(step).tolist()
    assert {rank.epoch_of(step) for rank in ranks} == {whole.epoch_of(step)}
    sizes_ = [len(rows) for rows in parts]
    assert sizes_ == [rank.batching.size for rank in ranks]
    assert sizes_ == sorted(sizes_, reverse=True)
    assert sizes_[0] - sizes_[-1] <= 1
    assert [rank.batching.first for rank in ranks] == [sum(sizes_[:r]) for r in range(num_workers)]


@given(sizes, st.integers(0, 200), orders)
def test_any_step_can_be_asked_first(group_sizes: list[int], step: int, order: Order) -> None:
    fresh = plan(group_sizes, Batching(4), order=order).rows(step)
    warm = plan(group_sizes, Batching(4), order=order)
    for earlier in range(step):
        warm.rows(earlier)
    assert warm.rows(step).tolist() == fresh.tolist()


@pytest.mark.parametrize("order", get_args(Order))
def test_epochs_and_seeds_differ(order: Order) -> None:
    sizes_ = [10] * 20
    epoch = 200 // 8

    def rows(first: int, *, seed: int = 0) -> list[int]:
        steps = plan(sizes_, Batching(8), seed=seed, order=order)
        return [int(row) for i in range(epoch) for row in steps.rows(first + i)]

    assert rows(0) != rows(epoch)
    assert rows(0) != rows(0, seed=1)
    assert plan(sizes_, Batching(8)).epoch_of(epoch) == 1


@pytest.mark.parametrize("order", get_args(Order))
def test_a_window_draws_on_its_groups_only(order: Order) -> None:
    """A rank reads at most `shuffle_window` row groups for the rows of one window."""
    steps = plan([4] * 9, Batching(1), window=3, order=order)
    seen = [int(steps.rows(i)[0]) // 4 for i in range(36)]
    for window in range(3):
        assert len(set(seen[window * 12 : (window + 1) * 12])) == 3


def test_a_drawn_order_is_the_one_that_begun_runs_go_on_with() -> None:
    """Rows that were computed before there was any other order: they never change."""
    few = plan([7, 3, 9, 5, 8, 2, 6, 4, 9, 1], Batching(8, 3, 1), seed=11)
    assert [few.rows(step).tolist() for step in (0, 1, 6, 7, 100)] == [
        [26, 4, 31], [14, 11, 1], [42, 41, 40], [33, 32, 0], [53, 5, 20],
    ]  # fmt: skip
    many = plan([100 + i % 7 for i in range(1000)], Batching(64), seed=5, window=16)
    rows = np.concatenate([many.rows(step) for step in range(0, 4000, 37)]).astype("<i8")
    digest = "e25f4e7a20fda21299b63f13a11a8ad2b6a6e89bcd7b2724f790950f6fbb5173"
    assert hashlib.sha256(rows.tobytes()).hexdigest() == digest


def test_a_computed_order_never_changes_either() -> None:
    few = plan([7, 3, 9, 5, 8, 2, 6, 4, 9, 1], Batching(8, 3, 1), seed=11, order="computed")
    assert [few.rows(step).tolist() for step in (0, 1, 6, 7, 100)] == COMPUTED


def test_a_computed_order_holds_no_permutation() -> None:
    """What a plan of a million row groups holds beyond their sizes grows by windows only."""
    groups = RowGroups.of_files((str(i), [3, 2, 4, 1] * 250) for i in range(1000))
    window, bytes_of_sizes = 16, groups.starts.nbytes
    held = {}
    for order in get_args(Order):
        tracemalloc.start()
        steps = DataPlan(
            groups, seed=1, shuffle_window=window, batching=Batching(64), order=order
        )  # fmt: skip
        steps.rows(10**9)
        held[order] = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
    assert held["computed"] < bytes_of_sizes / window * 1.2
    assert held["drawn"] > bytes_of_sizes


group_rows = st.lists(st.integers(0, 5), max_size=6)


@given(st.lists(group_rows, max_size=6), st.none() | st.integers(0, 40))
def test_row_groups_of_files_are_those_that_have_rows(
    files: list[list[int]], limit: int | None
) -> None:
    expected, left = [], 10**9 if limit is None else limit
    for number, in_file in enumerate(files):
        for index, size in enumerate(in_file):
            taken = min(size, left)
            left -= taken
            expected += [RowGroup(f"file-{number}", index, taken)] if taken else []
    named = [(f"file-{number}", in_file) for number, in_file in enumerate(files)]
    groups = RowGroups.of_files(named, limit)
    assert list(groups) == expected
    assert groups[1:] == expected[1:]
    assert groups.num_rows == sum(group.num_rows for group in expected)
    sizes_ = [after - before for before, after in pairwise(groups.starts.tolist())]
    assert sizes_ == [group.num_rows for group in expected]


def test_no_group_beyond_the_last() -> None:
    groups = RowGroups.of_files([("a", [2, 2])])
    assert groups[-1] == RowGroup("a", 1, 2)
    with pytest.raises(IndexError):
        groups[2]
