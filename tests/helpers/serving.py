"""Fake drawers, which paint a grey that the seed decides, and a service around them in process.

They stand in for the drawing engine: what is tested with them is HTTP alone. They count what they
were asked, how far each drawing came, and whether it was stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import numpy as np
import uvicorn

from darkroom.config import build_config
from darkroom.jobs.serve.config import ServeConfig
from darkroom.jobs.serve.drawers import Begun, Drawn
from darkroom.jobs.serve.http_api import HttpApi
from darkroom.jobs.serve.request import Defaults, Drawing, DrawRequest, Preview, ServedModel

DIGITS = ServedModel(
    name="digits",
    digest="d1" * 32,
    kind="class",
    classes=tuple("0123456789"),
    width=28,
    height=28,
    side_multiple=4,
    min_side=28,
    max_side=28,
    max_steps=1000,
    samplers=("ddpm", "ddim", "dpm-solver++"),
    guidable=True,
    defaults=Defaults(num_steps=50, guidance=1.0, sampler="ddim"),
    steps_joined=True,
)
PAINTER = ServedModel(
    name="painter",
    digest="e2" * 32,
    kind="prompt",
    width=64,
    height=64,
    side_multiple=8,
    min_side=64,
    max_side=1024,
    max_steps=1000,
    samplers=("euler", "own"),
    guidable=True,
    negative_prompts=True,
    defaults=Defaults(num_steps=4, guidance=5.0, sampler="own"),
    loras={"ink": "f3" * 32},
    steps_joined=True,
)


@dataclass
class FakeDrawers:
    """Each step takes `step_seconds`; `fault` is raised after the first."""

    step_seconds: float = 0.0
    fault: Exception | None = None
    asked: list[DrawRequest] = field(default_factory=list)
    steps: int = 0
    stopped: int = 0
    served: tuple[ServedModel, ...] = (DIGITS, PAINTER)

    async def models(self) -> tuple[ServedModel, ...]:
        return self.served

    async def draw(self, request: DrawRequest, /) -> AsyncGenerator[Drawn]:
        self.asked.append(request)
        model = next(each for each in self.served if each.name == request.model)
        shape = (request.height, request.width) + (() if model.kind == "class" else (3,))
        pixels = np.full(shape, (request.seed + request.index) % 256, np.uint8)
        finished = False
        try:
            lora = model.loras.get(request.lora or "")
            yield Begun(model.digest, lora, model.parents(request.lora))
            for step in range(request.num_steps):
                await asyncio.sleep(self.step_seconds)
                self.steps += 1
                if self.fault is not None:
                    raise self.fault
                if step < request.num_previews:
                    yield Preview(step, step + 1, request.num_steps, pixels // 2)
            yield Drawing(pixels, request.num_steps, 0.0, 0.1, 1)
            finished = True
        finally:
            self.stopped += not finished


def serve_config(**values: Any) -> ServeConfig:
    return build_config(ServeConfig, {"models": ["/digits", "/painter"], **values})


def http_api(drawers: FakeDrawers, **values: Any) -> HttpApi:
    return HttpApi(serve_config(**values), drawers)


@asynccontextmanager
async def client_of(
    api: HttpApi, headers: Mapping[str, str] | None = None
) -> AsyncIterator[httpx2.AsyncClient]:
    """A client whose requests the app answers in this process."""
    transport = httpx2.ASGITransport(api.app(), raise_app_exceptions=False)
    url = "http://127.0.0.1:8000"
    async with httpx2.AsyncClient(
        transport=transport, base_url=url, headers=dict(headers or {})
    ) as client:
        yield client


@asynccontextmanager
async def listening(api: HttpApi) -> AsyncIterator[str]:
    """The same behind a real socket; yields the address."""
    config = uvicorn.Config(
        api.app(), host="127.0.0.1", port=0, log_level="critical", lifespan="off"
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    await eventually(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task


async def eventually(what: Callable[[], bool]) -> None:
    """Wait until `what` is so; the test's own time limit ends a hang."""
    while not what():  # noqa: ASYNC110 - fakes signal nothing
        await asyncio.sleep(0.01)
