"""Test files over several processes (`pytest -n`), the longest first.

A file is the unit: its tests share a Ray and published artifacts, and run in their random order.
A file of which no time is recorded is taken for a long one, so that it cannot begin last.

A process of xdist does not begin a test before it knows the one after it. Behind each long file
it is therefore given one of the shortest, or a long one would wait behind another.
"""

from __future__ import annotations

import pytest
from tests.helpers.file_clock import file_of, recorded_seconds
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

UNKNOWN_SECONDS = 30.0


class LongestFirst(LoadScopeScheduling):
    """Gives each free process the longest file that is left."""

    def __init__(self, config: pytest.Config, log: Producer) -> None:
        super().__init__(config, log)
        self._seconds = recorded_seconds()
        self._last_was_long: dict[WorkerController, bool] = {}

    def _split_scope(self, nodeid: str) -> str:
        return file_of(nodeid)

    def _reschedule(self, node: WorkerController) -> None:
        if self._pending_of(self.assigned_work[node]) <= 1 or not self.workqueue:
            super()._reschedule(node)

    def _assign_work_unit(self, node: WorkerController) -> None:
        take_long = not self._last_was_long.get(node, False)
        self._last_was_long[node] = take_long
        choose = max if take_long else min
        scope = choose(self.workqueue, key=lambda name: self._seconds.get(name, UNKNOWN_SECONDS))
        self.workqueue.move_to_end(scope, last=False)
        super()._assign_work_unit(node)
