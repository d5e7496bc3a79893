"""Who is in the next step, without any model: order, caps, turns."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import count

from hypothesis import given
from hypothesis import strategies as st
from tests.helpers.clock import Clock

from darkroom.jobs.serve.engine.batcher import Batcher
from darkroom.jobs.serve.engine.joined import BatchKey

_NUMBERS = count()


def key(name: str) -> BatchKey:
    return BatchKey(name, None, 8, 8, guided=False, exact=False)


@dataclass(eq=False)
class Member:
    key: BatchKey
    left: int = 1
    number: int = field(default_factory=lambda: next(_NUMBERS))


def batcher(cap: int, *, turn: float = 4.0) -> tuple[Batcher[Member], Clock]:
    clock = Clock()
    return Batcher(lambda _key: cap, turn_seconds=turn, clock=clock), clock


def step(made: Batcher[Member], clock: Clock) -> list[Member]:
    batch = made.next_batch()
    clock.now += 1
    for member in batch:
        member.left -= 1
        if not member.left:
            made.remove(member)
    return batch


def test_who_leaves_makes_room_for_the_next_in_line() -> None:
    made, clock = batcher(2)
    a, b, c = Member(key("a"), 3), Member(key("a"), 1), Member(key("a"), 1)
    for member in (a, b, c):
        made.add(member)
    assert [step(made, clock) for _ in range(3)] == [[a, b], [a, c], [a]]
    assert not step(made, clock)


def test_keys_never_share_a_step_and_take_turns() -> None:
    made, clock = batcher(8, turn=3)
    for name in "abab":
        made.add(Member(key(name), 5))
    turns = "".join(step(made, clock)[0].key.model for _ in range(10))
    assert turns == "aaabbbaabb"


def test_a_flood_of_one_key_holds_up_another_for_a_turn_alone() -> None:
    made, clock = batcher(4, turn=3)
    for _ in range(100):
        made.add(Member(key("flood"), 5))
    step(made, clock)
    late = Member(key("late"), 2)
    made.add(late)
    waited = 0
    while late.left:
        step(made, clock)
        waited += 1
    assert waited <= 3 + 2


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 6), st.integers(0, 9)), max_size=30),
    st.integers(1, 5),
    st.integers(1, 5),
)
def test_everybody_is_drawn_in_the_order_of_their_line(
    arrivals: list[tuple[str, int, int]], cap: int, turn: int
) -> None:
    made, clock = batcher(cap, turn=turn)
    waiting = sorted(arrivals, key=lambda arrival: arrival[2])
    first_steps: dict[str, list[int]] = {}
    seen: set[int] = set()
    members = 0
    while waiting or len(made):
        while waiting and waiting[0][2] <= clock.now:
            name, steps, _ = waiting.pop(0)
            made.add(Member(key(name), steps))
            members += 1
        batch = step(made, clock)
        assert len(batch) <= cap
        assert len({member.key for member in batch}) <= 1
        for member in batch:
            if member.number not in seen:
                seen.add(member.number)
                first_steps.setdefault(member.key.model, []).append(member.number)
        assert clock.now < 2000
    assert len(seen) == members
    for numbers in first_steps.values():
        assert numbers == sorted(numbers)
    assert Counter(len(numbers) > 0 for numbers in first_steps.values())[False] == 0
