"""What is known of a run's workers while they train: progress one way, the wish to stop the other.

The driver makes it an actor (`monitor_line.py`). Every worker beats (`heartbeat.py`); the reply
says whether to stop, and what is done about it is the callback's. A worker that does not answer is
found and replaced by Ray Train, whose poll asks the same process; who it was is told from the last
beat.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from darkroom.jobs.training.goodput import Seconds, WorkerTimes
from darkroom.jobs.training.telemetry import RunGauges


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
