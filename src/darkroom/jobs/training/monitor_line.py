"""How a run's monitor is spoken to: an actor by everyone, or an object of this very process."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any, Protocol

import ray

from darkroom.jobs.training.monitor import RunMonitor
from darkroom.jobs.training.trainable import OnRow

ANSWER_SECONDS = 30.0
MONITOR_AWAY = (ray.exceptions.RayError, TimeoutError)
"""What a question to the monitor raises while it restarts."""


class MonitorLine(Protocol):
    """Calls a `RunMonitor`'s methods by name."""

    def tell(self, method: str, *given: Any) -> None:
        """Call it, and do not wait for it."""

    def ask(self, method: str, *given: Any) -> Any:
        """Its answer. Errors: MONITOR_AWAY."""

    def post_row(self, row: dict[str, Any]) -> str | None:
        """Bring a row of the metrics log to the driver; the reason to stop, if known at once."""


@dataclass(frozen=True)
class ActorLine:
    """To an actor of the driver; a worker gets a copy of the line."""

    actor: Any

    @classmethod
    def open(cls, run: str, highest_step: int) -> ActorLine:
        """Start the actor, which restarts by itself."""
        remote: Any = ray.remote
        actor = remote(num_cpus=0, max_restarts=-1)(RunMonitor)
        return cls(actor.remote(run, highest_step))

    def tell(self, method: str, *given: Any) -> None:
        """Send the call."""
        getattr(self.actor, method).remote(*given)

    def ask(self, method: str, *given: Any) -> Any:
        """Send the call and wait."""
        return ray.get(getattr(self.actor, method).remote(*given), timeout=ANSWER_SECONDS)

    def post_row(self, row: dict[str, Any]) -> None:
        """Send the row; a wish to stop comes with a later beat."""
        self.tell("post_metrics", row)


@dataclass(frozen=True)
class LocalLine:
    """To an object of this process, whose threads take turns. Without Ray."""

    monitor: RunMonitor
    on_row: OnRow
    """Asked in the thread that trains: nothing lies between, so its wish holds at once."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def tell(self, method: str, *given: Any) -> None:
        """Call it."""
        self.ask(method, *given)

    def ask(self, method: str, *given: Any) -> Any:
        """Call it."""
        with self.lock:
            return getattr(self.monitor, method)(*given)

    def post_row(self, row: dict[str, Any]) -> str | None:
        """Keep the row, and ask the caller about it."""
        self.tell("post_metrics", row)
        return self.on_row(row)
