"""Who is in the next step: first come, first served within a key, keys in turn.

Requests of one key (model, LoRA, shape, guidance or none) stand in a line, and the first of it, as
many as the cap allows, share each step; whoever is done makes room for the next in line. Where
several keys have requests, each has the device for a turn, then goes to the end. A picture that
waits for its key's turn keeps its latents, and nothing is done twice. So a flood of one key holds
up another's request for a turn, not for its whole length.

Knows nothing of models and threads: one thread's own.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar

from darkroom.jobs.serve.engine.joined import BatchKey


class Keyed(Protocol):
    """What stands in a line."""

    @property
    def key(self) -> BatchKey: ...


MemberT = TypeVar("MemberT", bound=Keyed)


class Batcher(Generic[MemberT]):
    """Lines of requests. cap: of a key. turn_seconds: how long a key goes on while others wait."""

    def __init__(
        self,
        cap: Callable[[BatchKey], int],
        *,
        turn_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cap, self._turn_seconds, self._clock = cap, turn_seconds, clock
        self._lines: OrderedDict[BatchKey, deque[MemberT]] = OrderedDict()
        """The first has the device."""
        self._turn: tuple[BatchKey, float] | None = None
        """Whose turn it is, and since when."""

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def __iter__(self) -> Iterator[MemberT]:
        for line in self._lines.values():
            yield from line

    def add(self, member: MemberT) -> None:
        """At the end of its key's line."""
        self._lines.setdefault(member.key, deque()).append(member)

    def remove(self, member: MemberT) -> None:
        """It is done, or gone."""
        line = self._lines[member.key]
        line.remove(member)
        if not line:
            del self._lines[member.key]

    def next_batch(self) -> list[MemberT]:
        """Who takes a step now: of one key, in order of arrival; empty where nobody waits."""
        if not self._lines:
            return []
        now = self._clock()
        first = next(iter(self._lines))
        if self._turn is not None and self._turn[0] == first:
            if len(self._lines) > 1 and now - self._turn[1] >= self._turn_seconds:
                self._lines.move_to_end(first)
                self._turn = (next(iter(self._lines)), now)
        else:
            self._turn = (first, now)
        key = self._turn[0]
        line = self._lines[key]
        return [line[at] for at in range(min(len(line), self._cap(key)))]
