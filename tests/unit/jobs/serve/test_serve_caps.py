"""How many may share a step: what costs more than it gains is not joined."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from darkroom.jobs.serve.engine import caps as caps_module
from darkroom.jobs.serve.engine.caps import Caps, measure
from darkroom.jobs.serve.engine.joined import BatchKey

KEY = BatchKey("digits", None, 8, 8, guided=False, exact=False)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Time passes only when it is told to."""
    now = [0.0]

    class Clock:
        @staticmethod
        def perf_counter() -> float:
            return now[0]

    def pass_by(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(caps_module, "time", Clock)
    return pass_by


class Picture:
    """Has so many steps ahead."""

    num_left = 1000

    @property
    def done(self) -> bool:
        return self.num_left == 0


def measured(
    clock: Callable[[float], None], cost: dict[int, float], *, most: int, room: int = 1000
) -> dict[int, float]:
    def step(pictures: Sequence[Any]) -> None:
        if len(pictures) > room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        clock(cost[len(pictures)])

    return measure(Picture, step, most=most)


def test_a_shape_of_which_two_take_twice_as_long_is_drawn_alone(
    clock: Callable[[float], None],
) -> None:
    found = measured(clock, {1: 1.0, 2: 1.91, 4: 3.8}, most=16)
    assert max(found) == 1


def test_the_cap_ends_where_doubling_gains_nothing(clock: Callable[[float], None]) -> None:
    cost = {1: 0.25, 2: 0.375, 4: 0.5, 8: 0.75, 16: 1.5, 32: 3.0}
    assert max(measured(clock, cost, most=32)) == 8
    assert max(measured(clock, cost, most=16)) == 8
    assert max(measured(clock, cost, most=4)) == 4
    assert max(measured(clock, cost, most=5)) == 4


def test_a_doubling_that_another_program_disturbed_is_not_the_end(
    clock: Callable[[float], None],
) -> None:
    cost = {1: 0.25, 2: 0.3, 4: 0.7, 8: 0.6, 16: 0.9}
    found = measured(clock, cost, most=16)
    assert found == pytest.approx({1: 0.25, 2: 0.3, 8: 0.6, 16: 0.9})


def test_a_short_step_is_repeated_until_a_spell_of_others_is_over(
    clock: Callable[[float], None],
) -> None:
    """The first three of each size meet another program."""
    repeats: dict[int, int] = {}

    def step(pictures: Sequence[Any]) -> None:
        size = len(pictures)
        repeats[size] = repeats.get(size, 0) + 1
        clock((0.02 if size == 2 and repeats[size] <= 3 else 0.002) + 0.001 * size)

    assert measure(Picture, step, most=2) == pytest.approx({1: 0.003, 2: 0.004})


@pytest.mark.parametrize("num_steps", [1, 4])
def test_a_picture_that_is_done_gives_its_place_to_another(
    clock: Callable[[float], None], num_steps: int
) -> None:
    """A model of few steps is measured as often as any."""
    num_calls = 0

    class Short(Picture):
        num_left = num_steps

    def step(pictures: Sequence[Any]) -> None:
        nonlocal num_calls
        num_calls += 1
        for picture in pictures:
            assert not picture.done
            picture.num_left -= 1
        clock(0.001)

    assert max(measure(Short, step, most=4)) == 4
    assert num_calls > 3 * 10


def test_a_step_never_takes_so_long_that_leaving_and_joining_wait(
    clock: Callable[[float], None],
) -> None:
    assert max(measured(clock, {1: 2.0, 2: 3.0, 4: 4.9, 8: 5.1}, most=16)) == 4
    assert max(measured(clock, {1: 9.0, 2: 9.5}, most=16)) == 1


def test_the_cap_ends_where_memory_does(clock: Callable[[float], None]) -> None:
    flat = dict.fromkeys((1, 2, 4, 8), 1.0)
    assert max(measured(clock, flat, most=8, room=5)) == 4
    with pytest.raises(torch.OutOfMemoryError):
        measured(clock, flat, most=8, room=0)


def test_halving_goes_down_from_what_was_tried_and_ends_at_one() -> None:
    caps = Caps()
    assert caps.of(KEY) == 1
    caps.learn(KEY, {1: 1.0, 2: 1.2, 4: 1.4, 8: 1.6})
    assert caps.of(KEY) == 8
    assert caps.seconds_per_step(KEY) == pytest.approx(0.2)
    assert caps.halve(KEY, 6) == 3
    assert caps.halve(KEY, 3) == 1
    assert caps.halve(KEY, 1) == 1
    assert caps.table() == [
        {
            "model": "digits", "width": 8, "height": 8, "guided": False, "cap": 1,
            "step_seconds": {1: 1.0, 2: 1.2, 4: 1.4, 8: 1.6},
        }
    ]  # fmt: skip


def test_an_exact_request_is_alone_whatever_the_cap() -> None:
    caps = Caps()
    caps.learn(KEY, {1: 1.0, 2: 1.2})
    exact = BatchKey("digits", None, 8, 8, guided=False, exact=True)
    assert caps.of(exact) == 1
    assert caps.of(BatchKey("digits", "ink", 8, 8, guided=False, exact=False)) == 2
