"""Ranks compute one batch together, whatever their number, their shares and their memory."""

from __future__ import annotations

import pytest
from tests.helpers.ranks import Result, Scenario, run

SCENARIOS = {
    "alone": Scenario(),
    "two": Scenario(num_ranks=2),
    "three": Scenario(num_ranks=3),
    "three, in pieces": Scenario(num_ranks=3, micro_batch_size=4),
    "in pieces of 8": Scenario(num_ranks=2, micro_batch_size=8),
    "in pieces of 4": Scenario(num_ranks=2, micro_batch_size=4),
    "full at step 0": Scenario(num_ranks=2, micro_batch_size=16, full_rank=1, most_rows=8),
    "full at step 3": Scenario(
        num_ranks=2, micro_batch_size=16, full_rank=1, full_from_step=3, most_rows=4
    ),
    "full late in step 2": Scenario(
        num_ranks=2, micro_batch_size=8, full_rank=0, full_from_step=2, most_rows=4, late=True
    ),
    "full alone": Scenario(micro_batch_size=32, full_rank=0, full_from_step=1, most_rows=8),
    "probed": Scenario(num_ranks=2, probes=True),
    "probed, full": Scenario(
        num_ranks=2, micro_batch_size=16, full_rank=1, most_rows=8, probes=True
    ),
    "nothing fits": Scenario(num_ranks=2, micro_batch_size=4, full_rank=1, most_rows=0),
}


@pytest.fixture(scope="module")
def results() -> dict[str, Result]:
    return dict(zip(SCENARIOS, run(list(SCENARIOS.values())), strict=True))


@pytest.mark.parametrize("name", ["two", "three", "three, in pieces", "in pieces of 4"])
def test_the_number_of_ranks_and_pieces_changes_nothing(
    results: dict[str, Result], name: str
) -> None:
    alone = results["alone"]
    assert len(alone.losses) == 6
    assert alone.losses[-1] < alone.losses[0]
    assert results[name].losses == pytest.approx(alone.losses, rel=1e-5)
    assert not results[name].events


@pytest.mark.parametrize(
    ("name", "small", "halvings"),
    [
        ("full at step 0", "in pieces of 8", [(0, 16, 8)]),
        ("full at step 3", "in pieces of 4", [(3, 16, 8), (3, 8, 4)]),
        ("full late in step 2", "in pieces of 4", [(2, 8, 4)]),
        ("full alone", "in pieces of 8", [(1, 32, 16), (1, 16, 8)]),
    ],
)
def test_memory_that_ends_changes_the_pieces_and_nothing_else(
    results: dict[str, Result], name: str, small: str, halvings: list[tuple[int, int, int]]
) -> None:
    found, scenario = results[name], SCENARIOS[name]
    assert found.losses == pytest.approx(results[small].losses, rel=1e-6)
    assert [
        (e["step"], e["micro_batch_size"], e["new_micro_batch_size"]) for e in found.events
    ] == (halvings)
    assert {event["rank"] for event in found.events} == {scenario.full_rank}
    assert set(found.sizes) == {halvings[-1][2]}, "every rank takes the smaller one"
    assert not found.errors


@pytest.mark.parametrize(
    ("name", "alike", "events"), [("probed", "two", 0), ("probed, full", "full at step 0", 1)]
)
def test_a_probe_leaves_nothing_but_what_it_found(
    results: dict[str, Result], name: str, alike: str, events: int
) -> None:
    assert results[name] == results[alike], "to the last bit"
    assert len(results[name].events) == events


def test_a_row_that_does_not_fit_is_said_once_on_every_rank(results: dict[str, Result]) -> None:
    found = results["nothing fits"]
    assert len(found.errors) == 2
    assert len(set(found.errors)) == 1
    assert found.errors[0].startswith(
        "batch_size: got 32, not even one row at a time fits into the "
    )
    assert "memory of rank 1" in found.errors[0]
    assert found.losses == []
