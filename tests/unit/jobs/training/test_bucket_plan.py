"""One bucket for each step, each row once per epoch, a pure function of (seed, step)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.jobs.artifacts.row_groups import RowGroup
from darkroom.jobs.training.bucket_plan import BucketPlan, BucketShare
from darkroom.jobs.training.plan import Batching


@dataclass(frozen=True)
class Case:
    """Rows in groups with their buckets, and how they are taken."""

    groups: list[list[int]]
    batch_size: int
    seed: int = 0
    window: int = 2

    @property
    def buckets(self) -> list[int]:
        return [bucket for group in self.groups for bucket in group]

    def plan(self) -> BucketPlan:
        groups = [RowGroup("part", i, len(group)) for i, group in enumerate(self.groups)]
        return BucketPlan(
            groups, self.buckets, batch_size=self.batch_size, seed=self.seed,
            shuffle_window=self.window,
        )  # fmt: skip


cases = st.builds(
    Case,
    groups=st.lists(
        st.lists(st.sampled_from([0, 1, 2, 7]), min_size=1, max_size=9), min_size=1, max_size=8
    ),
    batch_size=st.integers(1, 7),
    seed=st.integers(0, 2**32 - 1),
    window=st.integers(1, 4),
)


@given(cases)
def test_every_epoch_meets_every_row_once_in_steps_of_one_bucket(case: Case) -> None:
    plan, buckets = case.plan(), case.buckets
    wanted = sum(-(-count // case.batch_size) for count in Counter(buckets).values())
    assert plan.steps_per_epoch == wanted
    for epoch in range(3):
        steps = range(epoch * wanted, (epoch + 1) * wanted)
        met = [plan.rows(step).tolist() for step in steps]
        assert sorted(row for rows in met for row in rows) == list(range(plan.num_rows))
        assert all(len({buckets[row] for row in rows}) == 1 for rows in met)
        assert [plan.bucket_of(step) for step in steps] == [buckets[rows[0]] for rows in met]
        assert {plan.epoch_of(step) for step in steps} == {epoch}


@given(cases)
def test_only_what_is_left_of_a_bucket_is_short_and_comes_last(case: Case) -> None:
    plan = case.plan()
    sizes = [len(plan.rows(step)) for step in range(plan.steps_per_epoch)]
    is_short = [size < case.batch_size for size in sizes]
    assert is_short == sorted(is_short)
    assert max(sizes) <= case.batch_size
    short = [plan.bucket_of(step) for step, short in enumerate(is_short) if short]
    assert len(short) == len(set(short))
    total = sum(plan.weight(step) for step in range(plan.steps_per_epoch))
    assert total * case.batch_size == pytest.approx(plan.num_rows)


@given(cases, st.permutations(range(12)))
def test_a_step_is_the_same_whatever_was_asked_before(case: Case, order: list[int]) -> None:
    asked = case.plan()
    for step in order:
        assert asked.rows(step).tolist() == case.plan().rows(step).tolist()


@given(cases, st.integers(1, 5), st.integers(0, 30))
def test_ranks_share_a_step_to_within_one_row(case: Case, num_ranks: int, step: int) -> None:
    plan = case.plan()
    shares = [plan.share(step, rank=rank, num_ranks=num_ranks) for rank in range(num_ranks)]
    assert np.concatenate(shares).tolist() == plan.rows(step).tolist()
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1


@given(cases, st.integers(1, 5), st.integers(0, 30))
def test_each_rank_knows_its_rows_and_where_they_stand(
    case: Case, num_ranks: int, step: int
) -> None:
    plan = case.plan()
    met: list[int] = []
    for rank in range(num_ranks):
        share = BucketShare(plan, Batching(case.batch_size, num_ranks, rank))
        rows = share.rows(step).tolist()
        assert share.first(step) == len(met)
        assert share.epochs(step).tolist() == [plan.epoch_of(step)] * len(rows)
        met += rows
    assert met == plan.rows(step).tolist()


@given(cases)
def test_no_more_than_a_batch_of_each_bucket_waits(case: Case) -> None:
    """So that what is kept of read row groups is bounded as it is without buckets."""
    plan = case.plan()
    single = Case(case.groups, 1, case.seed, case.window).plan()
    order = [int(single.rows(step)[0]) for step in range(single.num_rows)]
    place = {row: at for at, row in enumerate(order)}
    num_buckets = len(set(case.buckets))
    taken = 0
    for step in range(plan.steps_per_epoch):
        rows = plan.rows(step)
        if len(rows) == case.batch_size:
            taken += len(rows)
            read = max(place[int(row)] for row in rows) + 1
            assert read - taken <= num_buckets * (case.batch_size - 1)


def test_epochs_and_seeds_differ() -> None:
    case = Case([[0, 1] * 20], batch_size=4)
    plan = case.plan()
    steps = plan.steps_per_epoch
    epochs = [[plan.rows(e * steps + i).tolist() for i in range(steps)] for e in range(2)]
    other = Case(case.groups, 4, seed=1).plan()
    assert epochs[0] != epochs[1]
    assert epochs[0] != [other.rows(i).tolist() for i in range(steps)]
    assert {plan.bucket_of(step) for step in range(3)} == {0, 1}  # they alternate


def test_buckets_of_other_rows_are_refused() -> None:
    with pytest.raises(ValueError, match=r"3 rows have the buckets \(2,\)"):
        BucketPlan([RowGroup("part", 0, 3)], [0, 1], batch_size=1, seed=0, shuffle_window=1)
