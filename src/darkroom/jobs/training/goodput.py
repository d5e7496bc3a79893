"""Where a run's worker-seconds went: every second of every worker, in exactly one part.

An attempt is one start of the workers; a driver that is run again and a worker group that is
restarted each make a new one. Within an attempt the parts sum to the number of workers times its
wall time, by construction: whatever nobody can account for is `lost`. A driver that is killed
says nothing, so its last attempt is closed by the next driver, and all that passed since its
last sign of life is lost. A run that ended by itself (stopped, failed) loses nothing until it is
started again.

Here are values and arithmetic only. The workers' clocks come from `monitor.py`; what is written
where is `goodput_records.py`'s.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from darkroom.jobs.artifacts.model import AttemptInfo, Goodput

Part = Literal["startup", "data_wait", "useful", "redone", "validation", "checkpoint", "lost"]

PARTS: dict[Part, str] = {
    "startup": "start-up: processes, imports, Ray, loading a checkpoint; and shutting down",
    "data_wait": "waiting for the next batch",
    "useful": "optimizer steps that no attempt had done before",
    "redone": "optimizer steps that an earlier attempt had already done",
    "validation": "validation",
    "checkpoint": "writing checkpoints and waiting for their upload; publishing the model",
    "lost": "lost to faults: from a worker's last sign of life to the start of the next attempt",
}
"""Every part with its meaning, in the order in which they are shown."""

Seconds = dict[Part, float]


class Stopwatch:
    """One worker's clock: at any moment exactly one part runs. Any thread may read it."""

    def __init__(
        self, part: Part = "startup", *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._part = part
        self._since = clock()
        self._seconds: Seconds = dict.fromkeys(PARTS, 0.0)

    def switch(self, part: Part) -> Part:
        """End the running part and start this one; returns the one that ran."""
        with self._lock:
            now = self._clock()
            self._seconds[self._part] += now - self._since
            before, self._part, self._since = self._part, part, now
            return before

    @contextmanager
    def measuring(self, part: Part) -> Iterator[None]:
        """Run this part for as long as the block does, then the one before it again."""
        before = self.switch(part)
        try:
            yield
        finally:
            self.switch(before)

    def seconds(self) -> Seconds:
        """Every part's seconds so far, the running one included."""
        with self._lock:
            seconds = dict(self._seconds)
            seconds[self._part] += self._clock() - self._since
            return seconds


@dataclass(frozen=True, slots=True)
class WorkerTimes:
    """One worker process's account at a sign of life."""

    rank: int
    worker: str
    """Names the process: a restarted rank has another."""
    joined_at: float
    """Wall clock when its stopwatch started."""
    first_step: int
    """The step that it began from."""
    step: int
    """The last step that it has done."""
    seconds: Seconds


@dataclass(slots=True)
class Attempt:
    """One start of the workers."""

    driver: str
    began_at: float
    """Wall clock, seconds since 1970."""
    until: float
    """Accounted for up to here: the mean over workers while it runs."""
    num_workers: int
    first_step: int = 0
    last_step: int = 0
    ending: str | None = None
    """completed, interrupted, failed, worker_lost, killed; None while it runs."""
    seconds: Seconds = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))
    """Worker-seconds by part; they sum to num_workers * (until - began_at)."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Attempt:
        """Read back what `to_dict` made."""
        return cls(**{each.name: values[each.name] for each in fields(cls)})

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    def spend(self, part: Part, until: float) -> None:
        """Put all workers' time up to `until` into one part."""
        passed = max(0.0, until - self.until)
        self.seconds[part] += self.num_workers * passed
        self.until += passed

    def take(self, workers: Sequence[WorkerTimes]) -> None:
        """Account for the workers of this attempt anew, from their own clocks."""
        seconds: Seconds = dict.fromkeys(PARTS, 0.0)
        for worker in workers:
            # Before it could look at a clock, a worker was starting.
            seconds["startup"] += max(0.0, worker.joined_at - self.began_at)
            for part, spent in worker.seconds.items():
                seconds[part] += spent
        self.seconds = seconds
        self.until = self.began_at + sum(seconds.values()) / self.num_workers
        self.first_step = max(worker.first_step for worker in workers)
        self.last_step = max(self.first_step, *(worker.step for worker in workers))


class GoodputAccount:
    """A run's attempts as one driver knows them: the earlier drivers' and its own."""

    def __init__(
        self, *, driver: str, num_workers: int, began_at: float, earlier: Sequence[Attempt] = ()
    ) -> None:
        self._driver = driver
        self._num_workers = num_workers
        self._earlier = sorted(earlier, key=lambda attempt: attempt.began_at)
        for number, attempt in enumerate(self._earlier):
            if attempt.ending is None:
                later = [other.began_at for other in self._earlier[number + 1 :]]
                attempt.spend("lost", until=min([*later, began_at]))
                attempt.ending = "killed"
        self.own = [Attempt(driver, began_at, began_at, num_workers)]
        self._workers: dict[int, WorkerTimes] = {}
        self._gone: set[str] = set()

    @property
    def attempts(self) -> list[Attempt]:
        """All attempts in order."""
        return [*self._earlier, *self.own]

    @property
    def highest_step(self) -> int:
        """The last step that any attempt is known to have done."""
        return max(attempt.last_step for attempt in self.attempts)

    def take(self, times: Sequence[WorkerTimes]) -> None:
        """Take the workers' newest accounts; a rank in a new process begins a new attempt."""
        for worker in sorted(times, key=lambda each: each.joined_at):
            known = self._workers.get(worker.rank)
            if worker.worker in self._gone:
                continue
            if known is not None and known.worker != worker.worker:
                self.own[-1].take(list(self._workers.values()))
                self._gone.update(each.worker for each in self._workers.values())
                self._workers = {}
                self._begin_again(worker.joined_at)
            self._workers[worker.rank] = worker
        if self._workers:
            self.own[-1].take(list(self._workers.values()))

    def wait_for_workers(self, now: float) -> None:
        """As long as no worker has begun, time is start-up."""
        if not self._workers:
            self.own[-1].spend("startup", now)

    def spend(self, part: Part, until: float) -> None:
        """The driver's own time, when no worker runs any more."""
        self.own[-1].spend(part, until)

    def end(self, ending: str, at: float) -> None:
        """Close the running attempt; the rest of it was shutting down, or lost if it failed."""
        self.own[-1].spend("lost" if ending == "failed" else "startup", at)
        self.own[-1].ending = ending

    def _begin_again(self, at: float) -> None:
        last = self.own[-1]
        last.spend("lost", at)
        last.ending = "worker_lost"
        self.own.append(Attempt(self._driver, last.until, last.until, self._num_workers))

    def summary(self) -> Goodput:
        """What a manifest says: the parts, their sum, the wall time, the attempts."""
        return summary(self.attempts)


def summary(attempts: Sequence[Attempt]) -> Goodput:
    """Totals over attempts. `goodput` is the useful share of all worker-seconds."""
    parts: dict[str, float] = {
        part: sum((each.seconds[part] for each in attempts), 0.0) for part in PARTS
    }
    total = sum(parts.values())
    return Goodput(
        goodput=parts["useful"] / total if total else 0.0,
        worker_seconds=parts,
        total_worker_seconds=total,
        wall_seconds=sum(each.until - each.began_at for each in attempts),
        num_attempts=len(attempts),
        steps_redone=sum(
            max(0, min(each.last_step, before) - each.first_step)
            for each, before in zip(attempts, _highest_before(attempts), strict=True)
        ),
        attempts=tuple(AttemptInfo(**each.to_dict()) for each in attempts),
    )


def _highest_before(attempts: Sequence[Attempt]) -> list[int]:
    highest = [0]
    for each in attempts:
        highest.append(max(highest[-1], each.last_step))
    return highest[:-1]
