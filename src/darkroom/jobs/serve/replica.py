"""A process that draws: the engine, as a Ray Serve deployment calls it.

The engine draws on a thread of its own, so the replica's event loop answers health checks while it
does. Loading happens in the constructor: a replica that runs is loaded and warm.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from darkroom.config import build_config
from darkroom.jobs.serve.config import ServeConfig
from darkroom.jobs.serve.drawers import Begun, Drawn
from darkroom.jobs.serve.engine.engine import Engine
from darkroom.jobs.serve.engine.source import ModelSource
from darkroom.jobs.serve.request import DrawRequest, ServedModel
from darkroom.jobs.serve.telemetry import EngineMetrics


class DrawingReplica:
    """All served models on this process's device."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        """Errors: ConfigError and DataError for what cannot be loaded."""
        config = build_config(ServeConfig, values)
        self._drain_seconds = config.drain_seconds
        self._engine = Engine(sources_of(config), config.workers, safety_check=config.safety_check)
        self._engine.load()
        self._metrics = EngineMetrics()

    async def check_health(self) -> None:
        """Serve asks every few seconds, and replaces a replica that raises three times running.

        Errors: ServingError where nothing can be drawn here any more.
        """
        self._metrics.show(self._engine.stats())
        self._engine.check_alive()

    async def models(self) -> tuple[ServedModel, ...]:
        """What is loaded."""
        return self._engine.models()

    async def draw(self, request: DrawRequest) -> AsyncGenerator[Drawn]:
        """As `Drawers.draw`."""
        self._engine.check(request)
        (model,) = (each for each in self._engine.models() if each.name == request.model)
        lora = None if request.lora is None else model.loras[request.lora]
        yield Begun(model.digest, lora, model.parents(request.lora))
        async with aclosing(self._engine.draw(request)) as items:
            async for item in items:
                yield item

    async def stats(self) -> dict[str, Any]:
        """The engine's counts, and the process that they are of."""
        return {"pid": os.getpid(), **self._engine.stats()}

    async def __del__(self) -> None:  # Serve awaits it when the replica is to end
        if engine := getattr(self, "_engine", None):
            await engine.close(self._drain_seconds)


def sources_of(config: ServeConfig) -> tuple[ModelSource, ...]:
    """What the engine loads; the LoRAs go over the first model."""
    variant = config.variant
    return tuple(
        ModelSource(name=name, model=model, variant=variant, loras={} if number else config.loras)
        for number, (name, model) in enumerate(zip(config.model_names, config.models, strict=True))
    )
