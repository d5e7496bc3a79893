"""What draws, as the HTTP side sees it: replicas behind a Ray handle, or anything like them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol

from darkroom.errors import ReplicaLostError
from darkroom.jobs.drawing.picture_bytes import Origin
from darkroom.jobs.serve.api_error import ApiError
from darkroom.jobs.serve.request import Drawing, DrawRequest, Preview, ServedModel
from darkroom.storage import Parent


@dataclass(frozen=True, slots=True)
class Begun:
    """What a drawing is made with: while weights are exchanged, replicas differ."""

    model_digest: str
    lora_digest: str | None = None
    parents: tuple[Parent, ...] = ()
    """The same weights, as the lineage of a picture names them."""

    def origin(self, request: DrawRequest, prompt_digest: str) -> Origin:
        """What the picture's bytes say of it."""
        return Origin(
            model_digest=self.model_digest,
            seed=request.seed,
            prompt_digest=prompt_digest,
            lora_digest=self.lora_digest,
            index=request.index,
        )


Drawn = Begun | Preview | Drawing


class Drawers(Protocol):
    """Replicas that draw."""

    async def models(self) -> tuple[ServedModel, ...]:
        """What can be drawn with. Errors: any, while nothing is loaded."""

    def draw(self, request: DrawRequest, /) -> AsyncGenerator[Drawn]:
        """Begun, previews as asked for, the drawing. Closing it stops at the next step.

        Before Begun it waits for a replica that can draw, for as long as it takes.
        Errors: ReplicaLostError for one that went down meanwhile; what drawing raised.
        """


def refuse_blanked(drawing: Drawing) -> None:
    """Errors: ApiError 400 for a picture that a safety checker has blanked."""
    if drawing.flagged:
        raise ApiError(400, "a safety checker blanked the picture", code="moderation_blocked")


async def draw_all(
    drawers: Drawers,
    requests: Sequence[DrawRequest],
    on_item: Callable[[int, Drawn], Awaitable[None]],
) -> None:
    """Draw all side by side, telling of each item as it comes with the request's index.

    When a replica is lost, another begins again, once: the picture is the same, so previews that
    were told already are left out. The first failure, or being cancelled, stops the others.
    """

    async def draw(index: int, request: DrawRequest) -> None:
        seen = -1
        for last in (False, True):
            try:
                async with aclosing(drawers.draw(request)) as items:
                    async for item in items:
                        if isinstance(item, Preview):
                            if item.index <= seen:
                                continue
                            seen = item.index
                        await on_item(index, item)
            except ReplicaLostError:
                if last:
                    raise
            else:
                return

    await side_by_side(draw(*each) for each in enumerate(requests))


async def side_by_side(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """All of it at once. The first failure, or being cancelled, stops the others."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
