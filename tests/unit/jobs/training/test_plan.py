"""The order of rows is a pure function that loses nothing and repeats nothing."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from darkroom.jobs.artifacts.row_groups import RowGroup
from darkroom.jobs.training.plan import Batching, DataPlan

sizes = st.lists(st.integers(1, 9), min_size=1, max_size=12)


def plan(group_sizes: list[int], batching: Batching, *, seed: int = 0, window: int = 3) -> DataPlan:
    groups = [RowGroup("part", i, size) for i, size in enumerate(group_sizes)]
    return DataPlan(groups, seed=seed, shuffle_window=window, batching=batching)


@given(sizes, st.integers(1, 7), st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_every_epoch_holds_every_row_once(
    group_sizes: list[int], batch: int, seed: int, window: int
) -> None:
    one_by_one = plan(group_sizes, Batching(1), seed=seed, window=window)
    num_rows = one_by_one.num_rows
    for epoch in range(2):
        order = [int(one_by_one.rows(epoch * num_rows + i)[0]) for i in range(num_rows)]
        assert sorted(order) == list(range(num_rows))
    batched = plan(group_sizes, Batching(batch), seed=seed, window=window)
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


@given(sizes, st.integers(0, 200))
def test_any_step_can_be_asked_first(group_sizes: list[int], step: int) -> None:
    fresh = plan(group_sizes, Batching(4)).rows(step)
    warm = plan(group_sizes, Batching(4))
    for earlier in range(step):
        warm.rows(earlier)
    assert warm.rows(step).tolist() == fresh.tolist()


def test_epochs_and_seeds_differ() -> None:
    sizes_ = [10] * 20
    epoch = 200 // 8
    first = np.concatenate([plan(sizes_, Batching(8)).rows(i) for i in range(epoch)])
    second = np.concatenate([plan(sizes_, Batching(8)).rows(epoch + i) for i in range(epoch)])
    other = np.concatenate([plan(sizes_, Batching(8), seed=1).rows(i) for i in range(epoch)])
    assert first.tolist() != second.tolist()
    assert first.tolist() != other.tolist()
    assert plan(sizes_, Batching(8)).epoch_of(epoch) == 1


def test_a_window_draws_on_its_groups_only() -> None:
    """A rank reads at most `shuffle_window` row groups for the rows of one window."""
    order = [int(plan([4] * 9, Batching(1), window=3).rows(i)[0]) // 4 for i in range(36)]
    for window in range(3):
        assert len(set(order[window * 12 : (window + 1) * 12])) == 3
