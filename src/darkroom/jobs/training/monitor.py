"""The driver's line to its workers: progress one way, the wish to stop the other.

`RunMonitor` is an actor of the driver. A thread in every worker beats once a second with the
rank's step; the reply says whether to stop, and what is done about it is the callback's. A worker
that does not answer is found and replaced by Ray Train, whose poll asks the same process; who it
was is told from the last beat.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

import ray

from darkroom.jobs.training.goodput import Seconds, Stopwatch, WorkerTimes
from darkroom.jobs.training.telemetry import RunGauges

BEAT_SECONDS = 1.0
MONITOR_AWAY = (ray.exceptions.RayError, TimeoutError)
"""What a call to the monitor raises while it restarts."""


@dataclass(frozen=True, slots=True)
class WorkerAddress:
    """Where a rank runs, for messages."""

    rank: int
    pid: int
    node: str

    def __str__(self) -> str:
        return f"rank {self.rank} (pid {self.pid} on {self.node})"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the monitor tells the driver; what is news is told once."""

    times: list[WorkerTimes]
    """The newest account of every worker process that has lived."""
    checkpoint_step: int
    """The newest checkpoint that can be resumed from."""
    rows: list[dict[str, Any]]
    """Rows of the metrics log since the last snapshot."""
    starts: list[int]
    """The steps that worker groups have begun at since."""
    warnings: list[str]
    """Lines for the driver's log since."""


@ray.remote(num_cpus=0, max_restarts=-1)
class RunMonitor:
    """Keeps the newest account of each rank, rows for the driver, the wish to stop.

    highest_step: the last step that an earlier driver's workers are known to have done.
    """

    def __init__(self, run: str, highest_step: int) -> None:
        self._gauges = RunGauges(run)
        self._highest_step = highest_step
        self._times: dict[str, WorkerTimes] = {}
        self._checkpoint_step = 0
        self._addresses: dict[int, WorkerAddress] = {}
        self._rows: list[dict[str, Any]] = []
        self._starts: list[int] = []
        self._warnings: list[str] = []
        self._stop_reason: str | None = None

    def beat(self, address: WorkerAddress, times: WorkerTimes) -> str | None:
        """Take a rank's sign of life; returns the reason to stop, if there is one."""
        self._addresses[address.rank] = address
        self._take_times(times)
        return self._stop_reason

    def leave(self, times: WorkerTimes) -> None:
        """A rank has ended its work."""
        self._take_times(times)

    def worker_lost(self, rank: int, reason: str) -> None:
        """Ray Train replaces the workers because of this rank."""
        address = self._addresses.get(rank)
        who = f"rank {rank}" if address is None else str(address)
        step = max((each.step for each in self._times.values() if each.rank == rank), default=0)
        self._warnings.append(
            f"{who} {reason} (step {step}): the run resumes from the newest checkpoint"
        )

    def _take_times(self, times: WorkerTimes) -> None:
        self._times[times.worker] = times
        self._highest_step = max(self._highest_step, times.step)
        self._gauges.show_step(times.step, rank=times.rank)

    def highest_step(self) -> int:
        """The last step that any attempt is known to have done."""
        return self._highest_step

    def show_goodput(self, worker_seconds: Seconds) -> None:
        """Show the driver's totals as metrics."""
        self._gauges.show_goodput(worker_seconds)

    def checkpoint_published(self, step: int, times: WorkerTimes) -> None:
        """A checkpoint of this step can be resumed from; the account of the rank that wrote it."""
        self._take_times(times)
        self._checkpoint_step = step
        self._gauges.show_checkpoint(step)

    def request_stop(self, reason: str) -> None:
        """Ask all ranks to save and return."""
        self._stop_reason = reason

    def post_metrics(self, row: dict[str, Any]) -> None:
        """Take a row of the metrics log, for the driver and for Prometheus."""
        self._rows.append(row)
        self._gauges.show_row(row)

    def post_start(self, step: int) -> None:
        """A worker group begins (again) at this step."""
        self._starts.append(step)

    def post_warning(self, text: str) -> None:
        """Take a line for the driver's log."""
        self._warnings.append(text)

    def snapshot(self) -> Snapshot:
        """What the driver wants to know."""
        rows, self._rows = self._rows, []
        starts, self._starts = self._starts, []
        warnings, self._warnings = self._warnings, []
        return Snapshot(
            times=list(self._times.values()),
            checkpoint_step=self._checkpoint_step,
            rows=rows,
            starts=starts,
            warnings=warnings,
        )


class Heartbeat:
    """The worker's side: a thread that beats, and remembers the wish to stop."""

    def __init__(self, monitor: Any, rank: int) -> None:
        self._monitor = monitor
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
            ray.get(self._monitor.leave.remote(self._times()), timeout=30)

    def highest_step(self) -> int:
        """The last step that any attempt is known to have done; 0 when the monitor is away."""
        try:
            return int(ray.get(self._monitor.highest_step.remote(), timeout=30))
        except MONITOR_AWAY:
            return 0  # Steps that are redone would then be called useful; nothing worse.

    def begin_at(self, step: int) -> None:
        """The step that this worker's training goes on from."""
        self.step = self._first_step = step

    def post_metrics(self, row: dict[str, Any]) -> None:
        """Bring a row of the metrics log to the driver."""
        self._monitor.post_metrics.remote(row)

    def checkpoint_published(self, step: int) -> None:
        """Tell of a checkpoint that can be resumed from, and of the work up to here.

        A group that dies between two beats has then not worked for nothing in the account.
        """
        self._monitor.checkpoint_published.remote(step, self._times())

    def report_start(self, step: int) -> None:
        """Tell the driver's log where this start of the workers begins."""
        self._monitor.post_start.remote(step)

    def warn(self, text: str) -> None:
        """Show a line in the driver's log."""
        self._monitor.post_warning.remote(text)

    def _run(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            answer = self._monitor.beat.remote(self._address, self._times())
            try:
                self.stop_reason = ray.get(answer, timeout=30) or self.stop_reason
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
