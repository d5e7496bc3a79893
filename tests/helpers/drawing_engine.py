"""Requests to a drawing engine, many at once, and what came of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from darkroom.errors import DarkroomError
from darkroom.jobs.serve.engine.engine import Engine
from darkroom.jobs.serve.engine.joined import sample_request
from darkroom.jobs.serve.engine.ticket import Ticket
from darkroom.jobs.serve.request import Drawing, DrawRequest, Preview

SAMPLERS = ("ddim", "ddpm", "dpm-solver++")


@dataclass
class Told:
    """All that one request got."""

    drawing: Drawing | None = None
    previews: list[Preview] = field(default_factory=list)
    error: DarkroomError | None = None

    @property
    def pixels(self) -> NDArray[np.uint8]:
        assert self.drawing is not None, self.error
        return self.drawing.pixels


def usual(engine: Engine, **values: Any) -> DrawRequest:
    """What the first model draws by itself, less what is said."""
    return replace(sample_request(engine.models()[0]), **values)


async def ask(engine: Engine, request: DrawRequest, *, delay: float = 0) -> Told:
    """Draw to the end."""
    if delay:
        await asyncio.sleep(delay)
    told = Told()
    try:
        async with aclosing(engine.draw(request)) as news:
            async for item in news:
                if isinstance(item, Drawing):
                    told.drawing = item
                else:
                    told.previews.append(item)
    except DarkroomError as error:
        told.error = error
    return told


async def leave(engine: Engine, request: DrawRequest, *, delay: float = 0) -> None:
    """Ask, and go away once the first preview came."""
    if delay:
        await asyncio.sleep(delay)
    async with aclosing(engine.draw(replace(request, num_previews=3))) as news:
        async for item in news:
            assert isinstance(item, Preview)
            return


@contextmanager
def held_until(engine: Engine, ready: Callable[[list[Ticket]], bool]) -> Iterator[None]:
    """No step begins before `ready` of all that is asked: no thread is faster than another."""
    batcher = engine._thread._batcher
    choose = batcher.next_batch

    def next_batch() -> list[Ticket]:
        if ready(list(batcher)):
            return choose()
        time.sleep(0.001)
        return []

    with mock.patch.object(batcher, "next_batch", next_batch):
        yield


def together(number: int) -> Callable[[list[Ticket]], bool]:
    """For `held_until`: once so many have come."""
    came = False

    def ready(tickets: list[Ticket]) -> bool:
        nonlocal came
        came = came or len(tickets) >= number
        return came

    return ready


def have_left(tickets: list[Ticket]) -> bool:
    """For `held_until`: nobody has a preview and is still there."""
    return not any(
        ticket.num_done >= min(ticket._previews, default=ticket.num_done + 1) for ticket in tickets
    )


def ask_all(engine: Engine, requests: Sequence[DrawRequest]) -> list[Told]:
    """All at once."""

    async def gathered() -> list[Told]:
        return await asyncio.gather(*(ask(engine, request) for request in requests))

    return asyncio.run(gathered())


def ask_alone(engine: Engine, requests: Sequence[DrawRequest]) -> list[Told]:
    """One after another."""
    return [told for request in requests for told in ask_all(engine, [request])]


def close(engine: Engine) -> None:
    asyncio.run(engine.close())


def mixed(engine: Engine, count: int, *, steps: Sequence[int] = (4, 7, 12)) -> list[DrawRequest]:
    """Classes, samplers, steps, seeds and guidance, each with another period."""
    classes = engine.models()[0].classes
    return [
        usual(
            engine,
            seed=100 + at,
            num_steps=steps[at % len(steps)],
            sampler=SAMPLERS[at % 3 if at % 5 else 0],
            label=classes[at % len(classes)],
            guidance=(1.0, 2.5, 4.0)[at // 7 % 3],
        )
        for at in range(count)
    ]


def levels_apart(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> int:
    """The largest difference in grey levels."""
    return int(np.abs(one.astype(int) - other.astype(int)).max())
