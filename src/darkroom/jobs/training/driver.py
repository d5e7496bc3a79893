"""The driver's side of a run: start Ray Train, show progress, pass signals on, end silence.

`trainer.fit()` runs in a thread, so that the main thread keeps the signals: SIGTERM and SIGINT
ask the workers to save and stop, a second one ends the driver at once. Which function the
workers run is the caller's.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray
import ray.train
import ray.train.torch

from darkroom.errors import TrainingError, WorkerLostError
from darkroom.jobs.progress import Progress, progress
from darkroom.jobs.training.config import WorkersConfig
from darkroom.jobs.training.monitor import RunMonitor

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
) -> dict[str, Any]:
    """Run `worker` on every rank until it ends; returns rank 0's value.

    Errors: TrainingError with the cause that Ray Train names, once restarts are used up.
    """
    monitor: Any = RunMonitor.remote()  # type: ignore[attr-defined] # made by ray.remote
    trainer = ray.train.torch.TorchTrainer(
        worker,
        train_loop_config={"settings": make_settings(monitor)},
        torch_config=ray.train.torch.TorchConfig(timeout_s=workers.collective_timeout_seconds),
        scaling_config=ray.train.ScalingConfig(
            num_workers=workers.num_workers,
            use_gpu=workers.use_gpu,
            resources_per_worker={"CPU": workers.cpus_per_worker}
            | ({"GPU": 1} if workers.use_gpu else {}),
        ),
        run_config=ray.train.RunConfig(
            name=run_name,
            failure_config=ray.train.FailureConfig(max_failures=workers.max_failures),
        ),
    )
    fit = _Fit(trainer)
    fit.start()
    with progress(num_steps, "train", "step") as bar:
        _attend(fit, monitor, bar, workers, stop)
    return fit.outcome()


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


def _attend(
    fit: _Fit,
    monitor: Any,
    bar: Progress,
    workers: WorkersConfig,
    stop: StopRequest,
) -> None:
    told, shown = False, 0
    while fit.is_alive():
        fit.join(timeout=_TICK_SECONDS)
        try:
            if stop.arrived.is_set() and not told:
                logger.warning("%s: saving a checkpoint, then stopping", stop.reason)
                ray.get(monitor.request_stop.remote(stop.reason), timeout=30)
                told = True
            for text in ray.get(monitor.pop_warnings.remote(), timeout=30):
                logger.warning(text)
            for step in ray.get(monitor.pop_starts.remote(), timeout=30):
                logger.info("resuming from step %d" if step else "started at step %d", step)
            shown = _show(bar, shown, ray.get(monitor.metrics.remote(), timeout=30))
            silent = ray.get(monitor.pop_silent.remote(workers.hang_timeout_seconds), timeout=30)
        except (ray.exceptions.RayError, TimeoutError):
            continue  # The monitor restarts by itself; fit() says what is really wrong.
        for address, step, actor in silent:
            logger.error(
                "%s has not answered for %.0f s since step %d: ending it, the run resumes "
                "from the newest checkpoint",
                address,
                workers.hang_timeout_seconds,
                step,
            )
            ray.kill(actor, no_restart=True)


def _show(bar: Progress, shown: int, row: dict[str, Any]) -> int:
    """Move the bar to the row's step; returns the step it stands at. It never goes back."""
    step = row.get("step", 0)
    if step <= shown:
        return shown
    figures = {name: row[name] for name in ("loss", "images_per_second") if row[name] is not None}
    bar.advance(step - shown, **figures)
    return int(step)


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
