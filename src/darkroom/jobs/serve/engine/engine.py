"""Draws for requests that come one by one: they join and leave between the steps of others.

    engine = Engine([ModelSource(name="digits", model="s3://bucket/digits/model")])
    engine.load()
    async with aclosing(engine.draw(request)) as news:
        async for item in news:
            ...  # previews, then the drawing

This is the event loop's side. Drawing is done by `drawing_thread.py`; who draws when, by
`batcher.py`; how many at once, by `caps.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from darkroom.config import closest
from darkroom.errors import ClosingError, ConfigError, ServingError
from darkroom.jobs.drawing.config import DrawingConfig
from darkroom.jobs.serve.engine.drawing_thread import DrawingThread
from darkroom.jobs.serve.engine.joined import AnyModel, BatchKey, check_request
from darkroom.jobs.serve.engine.load import load_served
from darkroom.jobs.serve.engine.safety import SafetyCheck
from darkroom.jobs.serve.engine.source import ModelSource
from darkroom.jobs.serve.engine.ticket import Ticket
from darkroom.jobs.serve.request import Drawing, DrawRequest, Preview, ServedModel

MAX_BATCH = 32
TURN_SECONDS = 1.0


class Engine:
    """Models on this process's device, and the thread that draws with them.

    config: device, precision and CPUs. max_batch: most pictures that share a step, whatever the
    measurement says. turn_seconds: how long requests of one kind have the device while others wait.
    safety_check: a function that may keep pictures back (`safety.py`).
    """

    def __init__(
        self,
        models: Sequence[ModelSource],
        config: DrawingConfig | None = None,
        *,
        max_batch: int = MAX_BATCH,
        turn_seconds: float = TURN_SECONDS,
        safety_check: str | None = None,
    ) -> None:
        """Errors: ConfigError for a safety_check that cannot be imported."""
        self._sources = tuple(models)
        self._config = config or DrawingConfig()
        self._thread = DrawingThread(
            self._load_models,
            SafetyCheck(safety_check),
            max_batch=max_batch,
            turn_seconds=turn_seconds,
        )
        self._served: tuple[ServedModel, ...] = ()
        self._closing = False

    def load(self) -> None:
        """Load, warm, and measure how many pictures of the usual shapes may share a step.

        Errors: ConfigError and DataError for what cannot be loaded.
        """
        self._served = self._thread.start()

    def models(self) -> tuple[ServedModel, ...]:
        """What is loaded; the first is the default. Empty before `load`."""
        return self._served

    def check(self, request: DrawRequest) -> None:
        """Whether it can be drawn. Errors: ConfigError naming the request's field."""
        check_request(request, self._model(request).served)

    async def draw(self, request: DrawRequest) -> AsyncGenerator[Preview | Drawing]:
        """Previews as asked for, then the drawing. Closing the iterator, or cancelling who waits
        for it, stops the drawing at its next step.

        Errors: ConfigError as of `check`; DeadlineError, DeviceMemoryError, ClosingError and other
        ServingErrors.
        """
        self.check(request)
        if self._closing:
            raise ClosingError("the service is stopping")
        ticket = Ticket(request, BatchKey.of(request, self._model(request)))
        self._thread.put(ticket)
        async with aclosing(ticket.news()) as news:
            async for item in news:
                yield item

    def check_alive(self) -> None:
        """Errors: ServingError when the drawing thread has ended, and nobody closed the engine."""
        if self._thread.ended and not self._closing:
            raise ServingError("the engine has failed, and draws nothing more")

    def stats(self) -> dict[str, Any]:
        """Counts since the start, the queue now, and the caps."""
        waiting, drawing, seconds = self._thread.queue()
        return {
            **self._thread.counts.to_dict(),
            "waiting": waiting,
            "drawing": drawing,
            "backlog_seconds": seconds,
            "caps": self._thread.caps.table(),
        }

    async def close(self, timeout_seconds: float | None = None) -> None:
        """Take nothing new, draw what is there, end the thread.

        After timeout_seconds, those who still wait get ClosingError.
        """
        self._closing = True
        if not self._thread.started:
            return
        ended = asyncio.wrap_future(self._thread.drain())
        try:
            await asyncio.wait_for(asyncio.shield(ended), timeout_seconds)
        except TimeoutError:
            self._thread.stop()
            await ended

    def _load_models(self) -> Mapping[str, AnyModel]:
        return {source.name: load_served(source, self._config) for source in self._sources}

    def _model(self, request: DrawRequest) -> AnyModel:
        models = self._thread.models
        if request.model not in models:
            guess = closest(request.model, [*models])
            raise ConfigError(
                "model", request.model, "is not served here",
                f"did you mean {guess!r}?" if guess else f"known: {', '.join(models) or 'none'}",
            )  # fmt: skip
        return models[request.model]
