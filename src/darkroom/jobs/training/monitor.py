"""The driver's line to its workers: progress one way, the wish to stop the other.

`RunMonitor` is an actor of the driver. A thread in every worker beats once a second with the
rank's step; the reply says whether to stop. A worker that is alive but stopped (SIGSTOP, a
hung device call that holds the interpreter) misses its beats, while ranks that merely wait for
it in a collective go on beating: so the silent rank is named, killed, and Ray Train restarts
the worker group. What is done about a stop is the callback's business.
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

from darkroom.jobs.training.ledger import Seconds, Stopwatch, WorkerTimes
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


@dataclass(slots=True)
class _Beat:
    address: WorkerAddress
    actor: Any
    step: int
    at: float


@dataclass(frozen=True, slots=True)
class Look:
    """What the monitor tells the driver at one look."""

    times: list[WorkerTimes]
    """The newest account of every worker process that has lived."""
    checkpoint_step: int
    """The newest checkpoint that can be resumed from."""
    metrics: dict[str, Any]
    """The newest metrics row; empty before the first."""
    starts: list[int]
    """The steps that worker groups have begun at since the last look."""
    warnings: list[str]
    """Lines for the driver's log since the last look."""
    silent: list[tuple[WorkerAddress, int, Any]]
    """Ranks newly silent for longer than the limit: address, last step, actor."""


@ray.remote(num_cpus=0, max_restarts=-1)
class RunMonitor:
    """Keeps the newest beat and account of each rank, the newest metrics, the wish to stop.

    highest_step: the last step that an earlier driver's workers are known to have done.
    """

    def __init__(self, run: str = "", highest_step: int = 0) -> None:
        self._gauges = RunGauges(run)
        self._highest_step = highest_step
        self._times: dict[str, WorkerTimes] = {}
        self._checkpoint_step = 0
        self._beats: dict[int, _Beat] = {}
        self._metrics: dict[str, Any] = {}
        self._starts: list[int] = []
        self._warnings: list[str] = []
        self._stop_reason: str | None = None

    def beat(self, address: WorkerAddress, step: int, actor: Any, times: WorkerTimes) -> str | None:
        """Take a rank's sign of life; returns the reason to stop, if there is one."""
        self._beats[address.rank] = _Beat(address, actor, step, time.monotonic())
        self._take_times(times)
        return self._stop_reason

    def leave(self, address: WorkerAddress, times: WorkerTimes) -> None:
        """A rank has ended its work: silence is expected from now on."""
        self._take_times(times)
        beat = self._beats.get(address.rank)
        if beat is not None and beat.address == address:
            del self._beats[address.rank]

    def _take_times(self, times: WorkerTimes) -> None:
        self._times[times.worker] = times
        self._highest_step = max(self._highest_step, times.step)
        self._gauges.show_step(times.step, rank=times.rank)

    def highest_step(self) -> int:
        """The last step that any attempt is known to have done."""
        return self._highest_step

    def show_ledger(self, worker_seconds: Seconds) -> None:
        """Show the driver's totals as metrics."""
        self._gauges.show_ledger(worker_seconds)

    def checkpoint_published(self, step: int, times: WorkerTimes) -> None:
        """A checkpoint of this step can be resumed from; the account of the rank that wrote it."""
        self._take_times(times)
        self._checkpoint_step = step
        self._gauges.show_checkpoint(step)

    def request_stop(self, reason: str) -> None:
        """Ask all ranks to save and return."""
        self._stop_reason = reason

    def post_metrics(self, row: dict[str, Any]) -> None:
        """Take the newest metrics row, for the progress bar and for Prometheus."""
        self._metrics = row
        self._gauges.show_row(row)

    def post_start(self, step: int) -> None:
        """A worker group begins (again) at this step."""
        self._starts.append(step)

    def post_warning(self, text: str) -> None:
        """Take a line for the driver's log."""
        self._warnings.append(text)

    def look(self, silent_after_seconds: float) -> Look:
        """What the driver wants to know; what is news is told once."""
        limit = time.monotonic() - silent_after_seconds
        silent = [beat for beat in self._beats.values() if beat.at < limit]
        for beat in silent:
            del self._beats[beat.address.rank]
        starts, self._starts = self._starts, []
        warnings, self._warnings = self._warnings, []
        return Look(
            times=list(self._times.values()),
            checkpoint_step=self._checkpoint_step,
            metrics=self._metrics,
            starts=starts,
            warnings=warnings,
            silent=[(beat.address, beat.step, beat.actor) for beat in silent],
        )


class Heartbeat:
    """The worker's side: a thread that beats, and remembers the wish to stop."""

    def __init__(self, monitor: Any, rank: int) -> None:
        self._monitor = monitor
        self._address = WorkerAddress(rank, os.getpid(), socket.gethostname())
        self._actor = ray.get_runtime_context().current_actor
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
            ray.get(self._monitor.leave.remote(self._address, self._times()), timeout=30)

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
        """Show a metrics row on the driver's progress bar."""
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
            answer = self._monitor.beat.remote(self._address, self.step, self._actor, self._times())
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
