"""What Ray Train does when a worker fails: end the run at once, or say who was lost and restart.

Runs in Ray Train's controller, after each poll that found failed workers. An error that is raised
there is the run's, and ends it without another start.
"""

from __future__ import annotations

from typing import Any

import ray.train

from darkroom.errors import is_mendable
from darkroom.jobs.training.memory_events import MicroBatchTooLargeError
from darkroom.jobs.training.monitor_line import MonitorLine

_SILENT = "has been hanging"
"""Ray Train's words for a worker that did not answer in time."""


class EndOrRestart(ray.train.UserCallback):
    """Raises the first fault that would only come again; names every worker that is replaced."""

    def __init__(self, line: MonitorLine, hang_timeout_seconds: float) -> None:
        self._line = line
        self._hang_timeout_seconds = hang_timeout_seconds

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Errors: InputError or MicroBatchTooLargeError of the lowest rank that has one."""
        for _, error in sorted(worker_exceptions.items()):
            if is_mendable(error) or isinstance(error, MicroBatchTooLargeError):
                raise error
        for rank, error in sorted(worker_exceptions.items()):
            self._line.tell("worker_lost", rank, self._reason(error))

    def _reason(self, error: Exception) -> str:
        text = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        if _SILENT in str(error):
            return f"has not answered for {self._hang_timeout_seconds:g} s"
        return "has died" if "died" in str(error) else f"failed ({text})"
