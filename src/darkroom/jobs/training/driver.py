"""The driver's side of a run: start Ray Train, show progress, pass signals on, end faults.

`trainer.fit()` runs in a thread, so that the main thread keeps the signals: SIGTERM and SIGINT
ask the workers to save and stop, a second one ends the driver at once. docs/training.md draws who
talks to whom.
"""

from __future__ import annotations

import logging
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import ray.train
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from darkroom.errors import InputError, TrainingError, WorkerLostError
from darkroom.jobs import demand
from darkroom.jobs.environment import environment_variable
from darkroom.jobs.progress import Progress, progress
from darkroom.jobs.training.config import TrainingConfig
from darkroom.jobs.training.endings import Outcome
from darkroom.jobs.training.goodput import GoodputAccount
from darkroom.jobs.training.goodput_records import AccountRecords
from darkroom.jobs.training.memory_events import MicroBatchTooLargeError
from darkroom.jobs.training.monitor import RunMonitor, Snapshot
from darkroom.jobs.training.monitor_line import MONITOR_AWAY, ActorLine, LocalLine, MonitorLine
from darkroom.jobs.training.process_group import ProcessGroup
from darkroom.jobs.training.restarts import EndOrRestart
from darkroom.jobs.training.trainable import OnRow, ignore_row
from darkroom.jobs.training.worker import Task, train_worker
from darkroom.jobs.training.worker_settings import WorkerSettings

logger = logging.getLogger(__name__)

_TICK_SECONDS = 1.0
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_HANG_VARIABLE = "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S"


class StopRequest:
    """Remembers why this run shall stop."""

    def __init__(self) -> None:
        self.reason: str | None = None


@contextmanager
def stop_signals() -> Iterator[StopRequest]:
    """Turn SIGTERM and SIGINT into a StopRequest for as long as the block runs."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {each: signal.getsignal(each) for each in _STOP_SIGNALS}

    def take(number: int, _frame: FrameType | None) -> None:
        request.reason = signal.Signals(number).name
        for each, handler in before.items():
            # The next one ends the driver at once; but a notebook's kernel is not ours to end.
            is_pythons = handler is signal.default_int_handler
            signal.signal(each, handler if is_pythons else signal.SIG_DFL)

    for each in _STOP_SIGNALS:
        signal.signal(each, take)
    try:
        yield request
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def run_workers(
    settings: WorkerSettings,
    *,
    stop: StopRequest,
    account: GoodputAccount,
    records: AccountRecords,
    on_row: OnRow,
    datasets: dict[str, Any] | None = None,
) -> Outcome:
    """Run every rank until it ends; returns rank 0's outcome.

    datasets: what Ray Data splits over the workers.
    The account is kept up to the workers' last word.

    Errors: InputError for what the user can mend, TrainingError with the cause that Ray Train
    names once restarts are used up, UnfilledDemandError.
    """
    config: TrainingConfig = settings.trainable.config
    caller = _Caller(on_row, stop)
    if config.workers.num_workers:
        line: MonitorLine = ActorLine.open(config.output, account.highest_step)
    else:
        line = LocalLine(RunMonitor(config.output, account.highest_step), caller.asked)
        logging.getLogger("ray").setLevel(logging.WARNING)  # it would tell of its local mode
    # Ray Train itself ends a worker that does not answer.
    hang_timeout = environment_variable(_HANG_VARIABLE, str(config.workers.hang_timeout_seconds))
    with _place_for_ray_train() as place, hang_timeout:
        fit = _Fit(_trainer(settings, line, place, datasets))
        fit.start()
        with progress(config.max_steps, settings.trainable.verb, "step") as bar:
            supervisor = _Supervisor(
                line, bar=bar, account=account, records=records, stop=stop,
                on_row=on_row if config.workers.num_workers else ignore_row,
            )  # fmt: skip
            while fit.is_alive():
                fit.join(timeout=_TICK_SECONDS)
                demand.check()
                supervisor.pass_on()
                supervisor.look()
        caller.raise_its_error()
        return fit.outcome()


def _trainer(
    settings: WorkerSettings, line: MonitorLine, place: str, datasets: dict[str, Any] | None
) -> Any:
    workers = settings.trainable.config.workers
    # Ray's types allow neither a value nor callbacks, which its documentation has.
    worker: Any = train_worker
    task: Any = Task(settings=settings, line=line)
    callbacks: Any = [EndOrRestart(line, workers.hang_timeout_seconds)]
    return DataParallelTrainer(
        worker,
        train_loop_config=task,
        datasets=datasets,
        backend_config=ProcessGroup(workers.use_gpu, workers.collective_timeout_seconds),
        scaling_config=ray.train.ScalingConfig(
            num_workers=workers.num_workers,
            use_gpu=workers.use_gpu,
            resources_per_worker=workers.resources_per_worker,
        ),
        run_config=ray.train.RunConfig(
            name=f"darkroom-{settings.address.owner}",
            storage_path=place,
            failure_config=ray.train.FailureConfig(max_failures=workers.max_failures),
            callbacks=callbacks,
        ),
    )


@contextmanager
def _place_for_ray_train() -> Iterator[str]:
    """Ray Train wants a folder for what we never give it; its own choice lies below HOME.

    Not the temporary folder that this process knows, but that of the Ray which it started.
    """
    parent = os.environ.get("TMPDIR", "")
    with tempfile.TemporaryDirectory(
        prefix="darkroom-train-", dir=parent if parent and Path(parent).is_dir() else None,
        ignore_cleanup_errors=True,
    ) as place:  # fmt: skip
        yield place


class _Fit(threading.Thread):
    """`trainer.fit()` in a thread, with its result or its error."""

    def __init__(self, trainer: Any) -> None:
        super().__init__(name="ray-train", daemon=True)
        self._trainer = trainer
        self._result: Any = None
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._result = self._trainer.fit()
        except BaseException as error:  # noqa: BLE001 - outcome() raises it in the main thread
            self._error = error

    def outcome(self) -> Outcome:
        if self._error is not None:
            fault = _fault(self._error)
            if isinstance(fault, MicroBatchTooLargeError):
                event = fault.event
                return Outcome("out_of_memory", step=event.step, out_of_memory=event)
            raise _translate(self._error) from self._error
        outcome: Outcome = self._result.return_value
        return outcome


class _Caller:
    """Asked from the thread that trains; what it raises is raised where it waits."""

    def __init__(self, on_row: OnRow, stop: StopRequest) -> None:
        self._on_row, self._stop = on_row, stop
        self._error: BaseException | None = None

    def asked(self, row: Mapping[str, Any]) -> str | None:
        """The reason to stop, the caller's or a signal's."""
        try:
            self._stop.reason = self._on_row(row) or self._stop.reason
        except BaseException as error:  # noqa: BLE001 - raised in the main thread
            self._error = error
            self._stop.reason = "the caller failed"
        return self._stop.reason

    def raise_its_error(self) -> None:
        """Once the training has ended."""
        if self._error is not None:
            raise self._error


class _Supervisor:
    """What the driver does every second while the workers train.

    The monitor restarts by itself, and `fit()` says what is really wrong: a call that fails is
    made again a second later. The workers' clocks go on meanwhile.
    """

    def __init__(
        self,
        line: MonitorLine,
        *,
        bar: Progress,
        account: GoodputAccount,
        records: AccountRecords,
        stop: StopRequest,
        on_row: OnRow,
    ) -> None:
        self._line = line
        self._bar = bar
        self._account = account
        self._records = records
        self._stop = stop
        self._on_row = on_row
        self._stop_told = False
        self._shown_step = 0

    def pass_on(self) -> None:
        """Tell the workers of the wish to stop, once."""
        if self._stop.reason is None or self._stop_told:
            return
        logger.warning("%s: saving a checkpoint, then stopping", self._stop.reason)
        with suppress(*MONITOR_AWAY):
            self._line.ask("request_stop", self._stop.reason)
            self._stop_told = True

    def look(self) -> None:
        """Bring bar, log, account, metrics and the caller up to the workers' newest word."""
        try:
            snapshot: Snapshot = self._line.ask("snapshot")
        except MONITOR_AWAY:
            return
        for text in snapshot.warnings:
            logger.warning(text)
        for step in snapshot.starts:
            logger.info("resuming from step %d" if step else "started at step %d", step)
        for row in snapshot.rows:
            self._show(row)
            self._stop.reason = self._on_row(row) or self._stop.reason
        self._account.take(snapshot.times)
        self._account.wait_for_workers(time.time())
        self._line.tell("show_goodput", self._account.summary().worker_seconds)
        self._records.write(self._account, snapshot.checkpoint_step)

    def _show(self, row: dict[str, Any]) -> None:
        """Move the bar to the row's step. It never goes back."""
        step = int(row.get("step", 0))
        if step <= self._shown_step:
            return
        names = "loss", "images_per_second"
        figures = {name: row[name] for name in names if row[name] is not None}
        self._bar.advance(step - self._shown_step, **figures)
        self._shown_step = step


def _fault(error: BaseException) -> Any:
    """What Ray Train's controller ended over; without workers, and so without one, the error."""
    return getattr(error, "controller_failure", error)


def _translate(error: BaseException) -> Exception:
    """Ray Train's error as one of ours; a fault that `EndOrRestart` has raised is one already."""
    fault = _fault(error)
    if isinstance(fault, InputError):
        return fault
    failures = getattr(error, "worker_failures", None)
    if failures:
        rank, cause = min(failures.items())
        text = str(cause).strip().splitlines()
        last = text[-1] if text else type(cause).__name__
        kind = WorkerLostError if "died" in str(cause).lower() else TrainingError
        return kind(f"rank {rank} failed and all restarts are used up: {last}")
    text = str(error).strip().splitlines()
    return TrainingError(text[-1] if text else type(error).__name__)
