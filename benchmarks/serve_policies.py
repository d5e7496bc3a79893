"""Other ways to draw for requests that come one by one, over the same model and the same steps.

Each is a thread that takes requests and draws whole batches: what is begun together ends together.
`one by one` takes the first; `work-conserving` all that wait when the device is free and want as
many steps as the first; `frozen` cuts batches by the clock, as `@serve.batch` does, while the
device is busy too, and they wait in line as they were cut.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import torch

from darkroom.jobs.serve.engine.joined import StepModel
from darkroom.jobs.serve.request import DrawRequest

WAIT_SECONDS = 0.05
"""How long a frozen batch stays open, as in the sheet of facts that this repeats."""


@dataclass
class Waiting:
    """A request in a queue."""

    request: DrawRequest
    done: Future[None] = field(default_factory=Future)


Choose = Callable[[list[Waiting]], list[Waiting]]


def first_alone(waiting: list[Waiting]) -> list[Waiting]:
    return waiting[:1]


def equal_steps(cap: int) -> Choose:
    def choose(waiting: list[Waiting]) -> list[Waiting]:
        steps = waiting[0].request.num_steps
        return [each for each in waiting if each.request.num_steps == steps][:cap]

    return choose


class WholeBatches:
    """Draws what `choose` takes of those that wait, to its end."""

    def __init__(self, model: StepModel, choose: Choose, *, num_threads: int) -> None:
        self._model, self._choose, self._num_threads = model, choose, num_threads
        self._inbox: queue.SimpleQueue[Waiting | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._main, daemon=True)
        self._thread.start()

    def draw(self, request: DrawRequest) -> Future[None]:
        waiting = Waiting(request)
        self._inbox.put(waiting)
        return waiting.done

    def close(self) -> None:
        self._inbox.put(None)
        self._thread.join()

    def _main(self) -> None:
        torch.set_num_threads(self._num_threads)
        waiting: list[Waiting] = []
        with torch.inference_mode():
            while True:
                while not waiting or not self._inbox.empty():
                    if (arrived := self._inbox.get()) is None:
                        return
                    waiting.append(arrived)
                batch = self._choose(waiting)
                waiting = [each for each in waiting if each not in batch]
                draw_whole(self._model, batch)


class FrozenBatches:
    """Cuts a batch `WAIT_SECONDS` after its first request came, or when it is full."""

    def __init__(self, model: StepModel, cap: int, *, num_threads: int) -> None:
        self._model, self._cap, self._num_threads = model, cap, num_threads
        self._inbox: queue.SimpleQueue[Waiting | None] = queue.SimpleQueue()
        self._batches: queue.SimpleQueue[list[Waiting] | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=each, daemon=True) for each in (self._cut, self._draw)
        ]
        for thread in self._threads:
            thread.start()

    def draw(self, request: DrawRequest) -> Future[None]:
        waiting = Waiting(request)
        self._inbox.put(waiting)
        return waiting.done

    def close(self) -> None:
        self._inbox.put(None)
        for thread in self._threads:
            thread.join()

    def _cut(self) -> None:
        while (first := self._inbox.get()) is not None:
            batch, until = [first], time.monotonic() + WAIT_SECONDS
            while len(batch) < self._cap:
                try:
                    more = self._inbox.get(timeout=max(0.0, until - time.monotonic()))
                except queue.Empty:
                    break
                if more is None:
                    self._inbox.put(None)
                    break
                batch.append(more)
            self._batches.put(batch)
        self._batches.put(None)

    def _draw(self) -> None:
        torch.set_num_threads(self._num_threads)
        with torch.inference_mode():
            while (batch := self._batches.get()) is not None:
                while batch:  # unlike requests cannot be one call of an offline sampler
                    part = equal_steps(self._cap)(batch)
                    batch = [each for each in batch if each not in part]
                    draw_whole(self._model, part)


def draw_whole(model: StepModel, batch: list[Waiting]) -> None:
    """From noise to pictures, together."""
    pictures: list[Any] = [model.begin(each.request) for each in batch]
    while not pictures[0].done:
        model.step(pictures)
    for picture, each in zip(pictures, batch, strict=True):
        model.finish(picture)
        each.done.set_result(None)
