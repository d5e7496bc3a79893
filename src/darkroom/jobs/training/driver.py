"""The driver's side of a run: start Ray Train, show progress, pass signals on, end silence.

`trainer.fit()` runs in a thread, so that the main thread keeps the signals: SIGTERM and SIGINT
ask the workers to save and stop, a second one ends the driver at once. Which function the
workers run is the caller's.
"""

from __future__ import annotations

import logging
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.torch

from darkroom.errors import TrainingError, WorkerLostError
from darkroom.jobs import demand
from darkroom.jobs.progress import Progress, progress
from darkroom.jobs.training.config import WorkersConfig
from darkroom.jobs.training.ledger import Ledger
from darkroom.jobs.training.ledger_records import LedgerRecords
from darkroom.jobs.training.monitor import MONITOR_AWAY, Look, RunMonitor

logger = logging.getLogger(__name__)

_TICK_SECONDS = 1.0
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Remembers the signal that asked this run to stop."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self.arrived = threading.Event()

    def take(self, number: int) -> None:
        """Note a signal; the next one acts as if there were no handler."""
        self.reason = signal.Signals(number).name
        self.arrived.set()
        for each in _STOP_SIGNALS:
            signal.signal(each, signal.SIG_DFL)


@contextmanager
def stop_signals() -> Iterator[StopRequest]:
    """Turn SIGTERM and SIGINT into a StopRequest for as long as the block runs."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {each: signal.getsignal(each) for each in _STOP_SIGNALS}
    for each in _STOP_SIGNALS:
        signal.signal(each, lambda number, _frame: request.take(number))
    try:
        yield request
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def run_workers(
    worker: Callable[[dict[Any, Any]], Any],
    make_settings: Callable[[Any], Any],
    *,
    run_name: str,
    workers: WorkersConfig,
    num_steps: int,
    stop: StopRequest,
    ledger: Ledger,
    records: LedgerRecords,
    label: str,
    datasets: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Run `worker` on every rank until it ends; returns rank 0's value.

    label: the run's name among metrics. datasets: what Ray Data splits over the workers.
    The ledger is kept up to the workers' last word.

    Errors: TrainingError with the cause that Ray Train names, once restarts are used up;
    UnfilledDemandError.
    """
    with _place_for_ray_train() as place:
        monitor: Any = RunMonitor.remote(label, ledger.highest_step)  # type: ignore[attr-defined] # made by ray.remote
        trainer = ray.train.torch.TorchTrainer(
            worker,
            train_loop_config={"settings": make_settings(monitor)},
            datasets=datasets,
            torch_config=ray.train.torch.TorchConfig(timeout_s=workers.collective_timeout_seconds),
            scaling_config=ray.train.ScalingConfig(
                num_workers=workers.num_workers,
                use_gpu=workers.use_gpu,
                resources_per_worker=workers.resources_per_worker,
            ),
            run_config=ray.train.RunConfig(
                name=run_name,
                storage_path=place,
                failure_config=ray.train.FailureConfig(max_failures=workers.max_failures),
            ),
        )
        fit = _Fit(trainer)
        fit.start()
        with progress(num_steps, "train", "step") as bar:
            attendant = _Attendant(monitor, bar, ledger, records, workers.hang_timeout_seconds)
            while fit.is_alive():
                fit.join(timeout=_TICK_SECONDS)
                demand.check()
                attendant.pass_on(stop)
                attendant.look()
        return fit.outcome()


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

    def outcome(self) -> dict[str, Any]:
        if self._error is not None:
            raise _translate(self._error) from self._error
        outcome: dict[str, Any] = self._result.return_value
        return outcome


class _Attendant:
    """What the driver does every second while the workers train.

    The monitor restarts by itself, and `fit()` says what is really wrong: a call that fails is
    made again a second later. The workers' clocks go on meanwhile.
    """

    def __init__(
        self,
        monitor: Any,
        bar: Progress,
        ledger: Ledger,
        records: LedgerRecords,
        hang_timeout_seconds: float,
    ) -> None:
        self._monitor = monitor
        self._bar = bar
        self._ledger = ledger
        self._records = records
        self._hang_timeout_seconds = hang_timeout_seconds
        self._stop_told = False
        self._shown_step = 0

    def pass_on(self, stop: StopRequest) -> None:
        """Tell the workers of a signal, once."""
        if not stop.arrived.is_set() or self._stop_told:
            return
        logger.warning("%s: saving a checkpoint, then stopping", stop.reason)
        with suppress(*MONITOR_AWAY):
            ray.get(self._monitor.request_stop.remote(stop.reason), timeout=30)
            self._stop_told = True

    def look(self) -> None:
        """Bring bar, log, ledger and metrics up to the workers' newest word; end silent ranks."""
        try:
            look: Look = ray.get(self._monitor.look.remote(self._hang_timeout_seconds), timeout=30)
        except MONITOR_AWAY:
            return
        for text in look.warnings:
            logger.warning(text)
        for step in look.starts:
            logger.info("resuming from step %d" if step else "started at step %d", step)
        self._show(look.metrics)
        self._account(look)
        for address, step, actor in look.silent:
            logger.error(
                "%s has not answered for %.0f s since step %d: ending it, the run resumes "
                "from the newest checkpoint",
                address,
                self._hang_timeout_seconds,
                step,
            )
            ray.kill(actor, no_restart=True)

    def _show(self, row: dict[str, Any]) -> None:
        """Move the bar to the row's step. It never goes back."""
        step = int(row.get("step", 0))
        if step <= self._shown_step:
            return
        names = "loss", "images_per_second"
        figures = {name: row[name] for name in names if row[name] is not None}
        self._bar.advance(step - self._shown_step, **figures)
        self._shown_step = step

    def _account(self, look: Look) -> None:
        self._ledger.take(look.times)
        self._ledger.wait_for_workers(time.time())
        self._monitor.show_ledger.remote(self._ledger.summary()["worker_seconds"])
        self._records.write(self._ledger, look.checkpoint_step)


def _translate(error: BaseException) -> TrainingError:
    failures = getattr(error, "worker_failures", None)
    if failures:
        rank, cause = min(failures.items())
        text = str(cause).strip().splitlines()
        last = text[-1] if text else type(cause).__name__
        kind = WorkerLostError if "died" in str(cause).lower() else TrainingError
        return kind(f"rank {rank} failed and all restarts are used up: {last}")
    text = str(error).strip().splitlines()
    return TrainingError(text[-1] if text else type(error).__name__)
