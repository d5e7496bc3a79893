"""How much is let in: by work (n x steps x area), by number, and for each key by rate and number.

What is refused costs nothing: 429 comes before anything is queued, and says when to come back, by
how fast work was done lately. One instance per replica of the HTTP side; runs on its event loop.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from darkroom.jobs.serve.api_error import ApiError
from darkroom.jobs.serve.config import RequestLimits

_FIRST_RETRY_SECONDS = 5.0
_SMOOTHING = 0.2


class Admission:
    """The door."""

    def __init__(self, limits: RequestLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits, self._clock = limits, clock
        self._work = 0.0
        self._num = 0
        self._num_of: defaultdict[str, int] = defaultdict(int)
        self._tokens: dict[str, tuple[float, float]] = {}
        """Key's name -> what is left of its minute's requests, and when that was so."""
        self._rate: float | None = None
        """Megapixel-steps per second, lately."""
        self._on_leaving: list[Callable[[], None]] = []

    @property
    def under_way(self) -> int:
        """Requests that were let in and have not ended."""
        return self._num

    @property
    def has_half_its_room(self) -> bool:
        """Whether work that can wait may begin."""
        return self._work <= self._limits.max_waiting_work / 2

    def on_leaving(self, call: Callable[[], None]) -> None:
        """Call it whenever a request has ended."""
        self._on_leaving.append(call)

    @contextmanager
    def admitted(self, owner: str, work: float) -> Iterator[None]:
        """Let one request in for as long as the context lasts.

        work: megapixel-steps. Errors: ApiError 429.
        """
        self._check_key(owner)
        self._check_room(work)
        if self._limits.requests_per_minute:  # the last, for it costs what it lets through
            self._take_token(owner, self._limits.requests_per_minute)
        began = self._clock()
        self._num += 1
        self._num_of[owner] += 1
        self._work += work
        try:
            yield
            self._learn(work, self._clock() - began)
        finally:
            self._num -= 1
            self._work = max(0.0, self._work - work) if self._num else 0.0
            self._num_of[owner] -= 1
            if not self._num_of[owner]:
                del self._num_of[owner]
            for call in self._on_leaving:
                call()

    def _check_room(self, work: float) -> None:
        limits = self._limits
        if self._num >= limits.max_requests or (
            self._num and self._work + work > limits.max_waiting_work
        ):
            wait = self._work / self._rate / 2 if self._rate else _FIRST_RETRY_SECONDS
            raise ApiError(
                429, "the service is busy; try again later", code="busy", retry_after=wait
            )

    def _check_key(self, owner: str) -> None:
        limits = self._limits
        if limits.requests_per_key and self._num_of.get(owner, 0) >= limits.requests_per_key:
            raise ApiError(
                429,
                f"this key has {limits.requests_per_key} requests under way, its limit",
                code="concurrency_limit_exceeded",
                retry_after=_FIRST_RETRY_SECONDS,
            )

    def _take_token(self, owner: str, per_minute: float) -> None:
        now = self._clock()
        burst = max(1.0, per_minute)
        left, at = self._tokens.get(owner, (burst, now))
        left = min(burst, left + (now - at) * per_minute / 60)
        if left < 1:
            self._tokens[owner] = (left, now)
            raise ApiError(
                429,
                f"this key may begin {per_minute:g} requests per minute",
                code="rate_limit_exceeded",
                retry_after=(1 - left) * 60 / per_minute,
            )
        self._tokens[owner] = (left - 1, now)

    def _learn(self, work: float, seconds: float) -> None:
        """Requests side by side share the machine: each tells a lower bound, times their number."""
        if work <= 0 or seconds <= 0:
            return
        rate = work / seconds * max(1, self._num)
        self._rate = rate if self._rate is None else self._rate + _SMOOTHING * (rate - self._rate)
