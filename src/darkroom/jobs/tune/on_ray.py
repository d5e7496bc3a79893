"""A study's errands as Ray tasks, as many at a time as the cluster has room for.

A task holds no CPU: what a run needs are its workers, which Ray Train reserves in one placement
group, all or none. So nothing is ever held while something else is waited for, and two studies on
one cluster cannot block each other. A run without workers (`workers.num_workers: 0`) trains inside
its task, which then reserves the CPUs.

Rows of validation go through an actor, the desk, for only the driver writes the study's journal.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError

from darkroom.config import build_config
from darkroom.errors import DarkroomError, InterruptedBySignal
from darkroom.jobs import demand
from darkroom.jobs.training.driver import StopRequest
from darkroom.jobs.tune.config import TuneConfig
from darkroom.jobs.tune.crew import NextErrand, Watch
from darkroom.jobs.tune.study import Ending
from darkroom.jobs.tune.trial import HALVED, Errand, run_errand
from darkroom.messages import first_line

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5
DESK_SECONDS = 60.0
"""How long the desk may take to answer; it does nothing else."""


class Desk:
    """Where runs leave what they see, and find whether they shall stop."""

    def __init__(self) -> None:
        self._seen: list[tuple[str, int, float]] = []
        self._reasons: dict[str, str] = {}
        self._turn: str | None = None

    def see(self, name: str, step: int, loss: float | None) -> str | None:
        """A row of a run's log; why the run shall stop, if it shall."""
        if loss is not None:
            self._seen.append((name, step, loss))
        return self._reasons.get(name)

    def take(self) -> list[tuple[str, int, float]]:
        """What was seen since the last call, in order."""
        seen, self._seen = self._seen, []
        return seen

    def stop(self, name: str, reason: str) -> None:
        """Ask a run to stop, at its next row."""
        self._reasons[name] = reason

    def take_turn(self, name: str) -> bool:
        """Whether this run may measure now."""
        if self._turn is None:
            self._turn = name
        return self._turn == name

    def end_turn(self, name: str) -> None:
        """The run has measured, or is no more."""
        if self._turn == name:
            self._turn = None


def _run(values: Mapping[str, Any], errand: Errand, desk: Any) -> Ending:
    """The task."""
    from darkroom.jobs.caches import caches_of_this_run

    config = build_config(TuneConfig, values)

    def see(step: int, loss: float | None) -> str | None:
        reason: str | None = ray.get(desk.see.remote(errand.name, step, loss))
        return reason

    @contextmanager
    def turn() -> Iterator[None]:
        # A pipeline holds the workers of one stage while it waits for those of the next.
        while not ray.get(desk.take_turn.remote(errand.name)):
            time.sleep(POLL_SECONDS)
        try:
            yield
        finally:
            ray.get(desk.end_turn.remote(errand.name))

    with caches_of_this_run():
        return run_errand(config, errand, see, turn)


class RayCrew:
    """Tasks of the cluster that this process is connected to."""

    def __init__(self, config: TuneConfig, stop: StopRequest) -> None:
        self._config = config
        self._stop = stop
        self._stop_told = False
        self._values = config.to_dict()
        self._desk: Any = ray.remote(num_cpus=0)(Desk).remote()
        self._running: dict[Any, Errand] = {}

    @property
    def room(self) -> int:
        """How many runs the cluster holds at once; never less than one, which then waits."""
        if self._config.trials_at_once is not None:
            return self._config.trials_at_once
        present: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        return runs_in(present, self._config)

    def work(self, following: NextErrand, watch: Watch) -> Iterator[tuple[Errand, Ending | None]]:
        """As many errands at once as there is room for."""
        interrupted: InterruptedBySignal | None = None
        while True:
            while self._stop.reason is None and len(self._running) < self.room:
                if (errand := following()) is None:
                    break
                self._start(errand)
            if not self._running:
                break
            demand.check()
            done, _ = ray.wait(list(self._running), timeout=POLL_SECONDS)
            # After the tasks, so that all that an ended run has seen is there.
            self._listen(watch)
            for reference in done:
                errand = self._running.pop(reference)
                self._desk.end_turn.remote(errand.name)
                try:
                    yield errand, _result(reference)
                except InterruptedBySignal as error:
                    interrupted = error
        if self._stop.reason is not None:
            raise interrupted or InterruptedBySignal(
                "stopped between two trials; run the same command to go on"
            )

    def _start(self, errand: Errand) -> None:
        # Its run is restarted by Ray Train; a lost task is the study's to start again, and count.
        task: Any = ray.remote(max_retries=0, num_cpus=reserved_cpus(self._config))(_run)
        self._running[task.remote(self._values, errand, self._desk)] = errand

    def _listen(self, watch: Watch) -> None:
        names = {errand.name: errand for errand in self._running.values()}
        try:
            for name, step, loss in ray.get(self._desk.take.remote(), timeout=DESK_SECONDS):
                if name in names and watch(names[name], step, loss):
                    self._desk.stop.remote(name, HALVED)
        except (RayActorError, GetTimeoutError) as error:
            raise DarkroomError(
                f"the study's desk does not answer ({type(error).__name__}); run the same command"
                " again to go on"
            ) from None
        if self._stop.reason is not None and not self._stop_told:
            self._stop_told = True
            logger.warning("%s: every run saves a checkpoint, then stops", self._stop.reason)
            for name in names:
                self._desk.stop.remote(name, self._stop.reason)


def reserved_cpus(config: TuneConfig) -> int:
    """CPUs that Ray reserves for an errand's task, besides its workers."""
    run = config.base
    return 0 if run.workers.num_workers else run.compute.num_threads


def runs_in(resources: Mapping[str, float], config: TuneConfig) -> int:
    """How many runs fit into so many resources at once; at least 1."""
    workers = config.base.workers
    needed = {
        name: count * workers.num_workers for name, count in workers.resources_per_worker.items()
    }
    needed["CPU"] = needed.get("CPU", 0.0) + reserved_cpus(config)
    counts = [resources.get(name, 0.0) / count for name, count in needed.items() if count]
    return max(1, math.floor(min(counts, default=1) + 1e-9))


def _result(reference: Any) -> Ending | None:
    """A task's ending; None when its process was lost. Errors: as `run_errand`."""
    try:
        ending: Ending = ray.get(reference)
    except RayTaskError as error:
        cause = error.cause
        if isinstance(cause, DarkroomError):
            raise cause from None
        lines = str(cause).strip().splitlines() or [type(cause).__name__]
        return Ending(state="failed", error=lines[-1])
    except RayError as error:
        logger.warning("a run's process was lost: %s", first_line(error))
        return None
    return ending
