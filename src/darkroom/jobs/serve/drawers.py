"""What draws, as the HTTP side sees it: replicas behind a Ray handle, or anything like them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

from darkroom.jobs.serve.request import Drawing, DrawRequest, Preview, ServedModel


@dataclass(frozen=True, slots=True)
class Begun:
    """What a drawing is made with: while weights are exchanged, replicas differ."""

    model_digest: str
    lora_digest: str | None = None


Drawn = Begun | Preview | Drawing


class Drawers(Protocol):
    """Replicas that draw."""

    async def models(self) -> tuple[ServedModel, ...]:
        """What can be drawn with. Errors: any, while nothing is loaded."""

    def draw(self, request: DrawRequest, /) -> AsyncGenerator[Drawn]:
        """Begun, previews as asked for, the drawing. Closing it stops at the next step."""


async def draw_all(
    drawers: Drawers,
    requests: Sequence[DrawRequest],
    on_item: Callable[[int, Drawn], Awaitable[None]],
) -> None:
    """Draw all side by side, telling of each item as it comes with the request's index.

    The first failure, or being cancelled, stops the others.
    """

    async def draw(index: int, request: DrawRequest) -> None:
        async with aclosing(drawers.draw(request)) as items:
            async for item in items:
                await on_item(index, item)

    tasks = [asyncio.create_task(draw(*each)) for each in enumerate(requests)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
