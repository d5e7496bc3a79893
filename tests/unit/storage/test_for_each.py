"""Work on many items from several threads: all of it once, in bounded memory, and how it fails."""

from __future__ import annotations

import threading
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.storage.store import NUM_THREADS, for_each


@given(st.lists(st.integers()))
def test_results_come_in_the_order_of_the_items(items: list[int]) -> None:
    assert for_each(lambda item: item + 1, items) == [item + 1 for item in items]


def test_every_item_is_worked_on_once_and_several_at_a_time() -> None:
    meeting, seen = threading.Barrier(NUM_THREADS, timeout=120), []

    def work(item: int) -> None:
        if item < NUM_THREADS:
            meeting.wait()
        seen.append(item)

    for_each(work, range(1000))
    assert sorted(seen) == list(range(1000))


def test_the_earliest_item_s_error_is_raised_and_what_is_not_begun_is_left() -> None:
    both_failed, begun = threading.Barrier(2, timeout=120), []

    def work(item: int) -> None:
        begun.append(item)
        if item in (3, 5):
            both_failed.wait()
            raise ValueError(item)

    with pytest.raises(ValueError, match="3"):
        for_each(work, range(100_000))
    assert len(begun) < 100_000


def test_an_item_costs_no_more_than_its_result() -> None:
    count = 200_000
    tracemalloc.start()
    for_each(lambda _item: None, range(count))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 * count
