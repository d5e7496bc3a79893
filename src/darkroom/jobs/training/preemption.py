"""What a run does about a node that is about to go: nothing that it learns is lost with it.

A spot instance that is reclaimed, a node that is drained, a pod that is evicted: Ray says so some
seconds before (`ray.train.get_preemption_info`), and when the deadline has passed it starts the
ranks anew on other nodes. The run saves at once, since the notice may be all that comes. It goes
on, saves again shortly before the deadline, and takes no step after that.
"""

from __future__ import annotations

import time
from typing import Literal

import ray.train

Wish = Literal["", "save", "save_and_hold"]
WISHES: tuple[Wish, ...] = ("", "save", "save_and_hold")

_LEAST_MARGIN_SECONDS = 10.0
"""Between the last save and the deadline; an upload goes on meanwhile."""
_SAVES_IN_MARGIN = 3
_LOOKS_IN_MARGIN = 2
_AFTER_DEADLINE_SECONDS = 30.0
"""Held so long in vain, a run goes on: the drain was called off."""
_HELD_SLICE_SECONDS = 0.2


class Preemption:
    """Ray's notice as one rank sees it. What the ranks do about it, rank 0 decides."""

    def __init__(self) -> None:
        self._notice: tuple[int | None, tuple[str, ...]] | None = None
        self._is_news = self._has_held = False
        self._saving_since: float | None = None
        self._save_seconds = 0.0

    def ask(self) -> None:
        """Look for a notice; a collective of Ray Train, so every rank asks at the same step."""
        info = ray.train.get_preemption_info()
        notice = None if info is None else (info.deadline_ms, tuple(info.preempted_node_ids))
        if notice is not None and notice != self._notice:
            self._is_news, self._has_held = True, False
        self._notice = notice

    def wish(self, *, seconds_between_looks: float) -> Wish:
        """What is due now; each thing is wished for once for each notice."""
        if self._notice is None or self._has_held:
            return ""
        left = self._seconds_left()
        margin = max(
            _LEAST_MARGIN_SECONDS,
            _SAVES_IN_MARGIN * self._save_seconds,
            _LOOKS_IN_MARGIN * seconds_between_looks,
        )
        if left is not None and left <= margin:
            self._is_news, self._has_held = False, True
            return "save_and_hold"
        if self._is_news:
            self._is_news, self._saving_since = False, time.monotonic()
            return "save"
        return ""

    def saved(self) -> None:
        """A checkpoint was taken: what it took says how early the next one must begin."""
        if self._saving_since is not None:
            self._save_seconds = time.monotonic() - self._saving_since
            self._saving_since = None

    def hold(self) -> None:
        """Take no step until Ray Train ends this worker, which it does at the deadline."""
        while (left := self._seconds_left()) is not None and left > -_AFTER_DEADLINE_SECONDS:
            time.sleep(_HELD_SLICE_SECONDS)

    def _seconds_left(self) -> float | None:
        """Until the deadline; None where the notice has none."""
        deadline_ms = self._notice[0] if self._notice else None
        return None if deadline_ms is None else deadline_ms / 1000 - time.time()
