"""What is wished for between a notice and its deadline. The clock and Ray's notice stand in; the
real ones are in `tests/proofs/test_drain_proof.py`."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from darkroom.jobs.training import preemption
from darkroom.jobs.training.preemption import Preemption


class Clock:
    """Both clocks of the module, and its sleep."""

    def __init__(self) -> None:
        self.now = 1000.0

    def time(self) -> float:
        return self.now

    monotonic = time

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    standing_in = Clock()
    monkeypatch.setattr(preemption, "time", standing_in)
    return standing_in


@pytest.fixture
def noticed(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Preemption:
    """A rank that has seen a notice of 45 seconds."""
    return seen(monkeypatch, clock, 45.0)


def seen(
    monkeypatch: pytest.MonkeyPatch,
    clock: Clock,
    seconds: float | None,
    rank: Preemption | None = None,
    node: str = "a",
) -> Preemption:
    rank = rank or Preemption()
    deadline = None if seconds is None else int((clock.now + seconds) * 1000)
    info = SimpleNamespace(deadline_ms=deadline, preempted_node_ids=[node])
    monkeypatch.setattr("ray.train.get_preemption_info", lambda: info)
    rank.ask()
    return rank


def wishes(rank: Preemption, clock: Clock, seconds: int, *, between: float = 1.0) -> dict[int, str]:
    """What it wishes for in each of the coming seconds, where that is anything."""
    found: dict[int, str] = {}
    for second in range(seconds):
        wish = rank.wish(seconds_between_looks=between)
        if wish:
            found[second] = wish
            rank.saved()
        clock.now += 1
    return found


def test_without_a_notice_nothing_is_due(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    monkeypatch.setattr("ray.train.get_preemption_info", lambda: None)
    rank = Preemption()
    rank.ask()
    assert wishes(rank, clock, 60) == {}


def test_it_saves_at_once_and_again_before_the_deadline(noticed: Preemption, clock: Clock) -> None:
    assert wishes(noticed, clock, 60) == {0: "save", 35: "save_and_hold"}


def test_a_notice_asked_for_again_is_no_news(noticed: Preemption, clock: Clock) -> None:
    assert noticed.wish(seconds_between_looks=1) == "save"
    noticed.ask()
    assert noticed.wish(seconds_between_looks=1) == ""


def test_a_slow_save_begins_earlier(noticed: Preemption, clock: Clock) -> None:
    assert noticed.wish(seconds_between_looks=1) == "save"
    clock.now += 6
    noticed.saved()
    assert wishes(noticed, clock, 40) == {45 - 6 - 18: "save_and_hold"}


def test_slow_steps_begin_earlier(noticed: Preemption, clock: Clock) -> None:
    assert wishes(noticed, clock, 40, between=8) == {0: "save", 29: "save_and_hold"}


def test_a_short_notice_is_one_save(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    assert wishes(seen(monkeypatch, clock, 8), clock, 20) == {0: "save_and_hold"}


def test_without_a_deadline_it_saves_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    rank = seen(monkeypatch, clock, None)
    assert wishes(rank, clock, 60) == {0: "save"}
    rank.hold()  # returns


def test_another_node_is_another_notice(
    monkeypatch: pytest.MonkeyPatch, noticed: Preemption, clock: Clock
) -> None:
    assert wishes(noticed, clock, 60) == {0: "save", 35: "save_and_hold"}
    seen(monkeypatch, clock, 45, noticed, node="b")
    assert wishes(noticed, clock, 60) == {0: "save", 35: "save_and_hold"}


def test_a_drain_that_was_called_off_holds_for_half_a_minute(
    noticed: Preemption, clock: Clock
) -> None:
    start = clock.now
    noticed.hold()
    assert clock.now - start == pytest.approx(45 + 30, abs=0.5)
