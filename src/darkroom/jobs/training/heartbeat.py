"""A worker's side of the run's monitor: a thread that beats once a second with the rank's step."""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import suppress
from typing import Any, Self

from darkroom.jobs.training.goodput import Stopwatch, WorkerTimes
from darkroom.jobs.training.monitor import WorkerAddress
from darkroom.jobs.training.monitor_line import MONITOR_AWAY, MonitorLine

BEAT_SECONDS = 1.0


class Heartbeat:
    """The worker's side: a thread that beats, and remembers the wish to stop."""

    def __init__(self, line: MonitorLine, rank: int) -> None:
        self._line = line
        self._address = WorkerAddress(rank, os.getpid(), socket.gethostname())
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._joined_at = time.time()
        self._first_step = 0
        self.stopwatch = Stopwatch()
        self.step = 0
        self.stop_reason: str | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self._thread.join(timeout=10 * BEAT_SECONDS)
        # Before this worker's end can be seen, or the driver would close the account without it.
        with suppress(*MONITOR_AWAY):
            self._line.ask("leave", self._times())

    def highest_step(self) -> int:
        """The last step that any attempt is known to have done; 0 when the monitor is away."""
        try:
            return int(self._line.ask("highest_step"))
        except MONITOR_AWAY:
            return 0  # Steps that are redone would then be called useful; nothing worse.

    def begin_at(self, step: int) -> None:
        """The step that this worker's training goes on from."""
        self.step = self._first_step = step

    def post_metrics(self, row: dict[str, Any]) -> None:
        """Bring a row of the metrics log to the driver."""
        self.stop_reason = self._line.post_row(row) or self.stop_reason

    def checkpoint_published(self, step: int) -> None:
        """Tell of a checkpoint that can be resumed from, and of the work up to here.

        A group that dies between two beats has then not worked for nothing in the account.
        """
        self._line.tell("checkpoint_published", step, self._times())

    def report_start(self, step: int) -> None:
        """Tell the driver's log where this start of the workers begins."""
        self._line.tell("post_start", step)

    def warn(self, text: str) -> None:
        """Show a line in the driver's log."""
        self._line.tell("post_warning", text)

    def _run(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            try:
                reason = self._line.ask("beat", self._address, self._times())
                self.stop_reason = reason or self.stop_reason
            except MONITOR_AWAY:
                # The monitor restarts by itself; a lost beat is not worth losing the run.
                continue

    def _times(self) -> WorkerTimes:
        return WorkerTimes(
            rank=self._address.rank,
            worker=str(self._address),
            joined_at=self._joined_at,
            first_step=self._first_step,
            step=self.step,
            seconds=self.stopwatch.seconds(),
        )
