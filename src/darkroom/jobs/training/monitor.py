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
from dataclasses import dataclass
from typing import Any, Self

import ray

BEAT_SECONDS = 1.0


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


@ray.remote(num_cpus=0, max_restarts=-1)
class RunMonitor:
    """Keeps the newest beat of each rank, the newest metrics, and the wish to stop."""

    def __init__(self) -> None:
        self._beats: dict[int, _Beat] = {}
        self._metrics: dict[str, Any] = {}
        self._starts: list[int] = []
        self._warnings: list[str] = []
        self._stop_reason: str | None = None

    def beat(self, address: WorkerAddress, step: int, actor: Any) -> str | None:
        """Take a rank's sign of life; returns the reason to stop, if there is one."""
        self._beats[address.rank] = _Beat(address, actor, step, time.monotonic())
        return self._stop_reason

    def leave(self, address: WorkerAddress) -> None:
        """A rank has ended its work: silence is expected from now on."""
        beat = self._beats.get(address.rank)
        if beat is not None and beat.address == address:
            del self._beats[address.rank]

    def request_stop(self, reason: str) -> None:
        """Ask all ranks to save and return."""
        self._stop_reason = reason

    def post_metrics(self, row: dict[str, Any]) -> None:
        """Take the newest metrics row, for the progress bar."""
        self._metrics = row

    def post_start(self, step: int) -> None:
        """A worker group begins (again) at this step."""
        self._starts.append(step)

    def pop_starts(self) -> list[int]:
        """Starts since the last call."""
        starts, self._starts = self._starts, []
        return starts

    def post_warning(self, text: str) -> None:
        """Take a line for the driver's log."""
        self._warnings.append(text)

    def pop_warnings(self) -> list[str]:
        """Warnings since the last call."""
        warnings, self._warnings = self._warnings, []
        return warnings

    def metrics(self) -> dict[str, Any]:
        """The newest metrics row; empty before the first."""
        return self._metrics

    def pop_silent(self, timeout_seconds: float) -> list[tuple[WorkerAddress, int, Any]]:
        """Ranks silent for longer than the limit, with their last step; each is told once."""
        limit = time.monotonic() - timeout_seconds
        silent = [beat for beat in self._beats.values() if beat.at < limit]
        for beat in silent:
            del self._beats[beat.address.rank]
        return [(beat.address, beat.step, beat.actor) for beat in silent]


class Heartbeat:
    """The worker's side: a thread that beats, and remembers the wish to stop."""

    def __init__(self, monitor: Any, rank: int) -> None:
        self._monitor = monitor
        self._address = WorkerAddress(rank, os.getpid(), socket.gethostname())
        self._actor = ray.get_runtime_context().current_actor
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self.step = 0
        self.stop_reason: str | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self._thread.join(timeout=10 * BEAT_SECONDS)
        self._monitor.leave.remote(self._address)

    def post_metrics(self, row: dict[str, Any]) -> None:
        """Show a metrics row on the driver's progress bar."""
        self._monitor.post_metrics.remote(row)

    def report_start(self, step: int) -> None:
        """Tell the driver's log where this start of the workers begins."""
        self._monitor.post_start.remote(step)

    def warn(self, text: str) -> None:
        """Show a line in the driver's log."""
        self._monitor.post_warning.remote(text)

    def _run(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            answer = self._monitor.beat.remote(self._address, self.step, self._actor)
            try:
                self.stop_reason = ray.get(answer, timeout=30) or self.stop_reason
            except (ray.exceptions.RayError, TimeoutError):
                # The monitor restarts by itself; a lost beat is not worth losing the run.
                continue
