"""One picture of a job, from its number to its bytes; tried again where that may help.

Long work outlives what fails meanwhile: replicas that stop, or have not loaded yet, are waited for.
What a picture itself may be to blame for (memory, the deadline) is tried a few times.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, replace

from darkroom.jobs.artifacts.drawings import PictureFacts
from darkroom.jobs.drawing.picture_bytes import Sign, picture_bytes
from darkroom.jobs.serve.api_error import ApiError
from darkroom.jobs.serve.drawers import Begun, Drawers, refuse_blanked
from darkroom.jobs.serve.images_api import as_api_error
from darkroom.jobs.serve.jobs.records import AskedJob
from darkroom.jobs.serve.request import Drawing, DrawRequest
from darkroom.storage import Parent

TRIES = 5
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
_WAITED_FOR = frozenset({"stopping", "not_ready"})
_TRIED_AGAIN = frozenset({"out_of_memory", "deadline_exceeded", "internal_error"})


@dataclass(frozen=True)
class DrawnForJob:
    """A picture as it is kept."""

    data: bytes
    facts: PictureFacts
    parents: tuple[Parent, ...]
    """The weights that drew it."""


async def draw(
    drawers: Drawers,
    asked: AskedJob,
    number: int,
    *,
    deadline_seconds: float,
    sign: Sign | None = None,
) -> DrawnForJob | ApiError:
    """Picture `number`, or why it cannot be drawn. Being cancelled stops it at the next step."""
    pause, tries = FIRST_PAUSE_SECONDS, 0
    while True:
        try:
            async with asyncio.timeout(deadline_seconds):
                return await _once(drawers, asked, number, deadline_seconds, sign)
        except Exception as error:  # noqa: BLE001 - whatever it is, the picture's record tells
            told = as_api_error(error)
        tries += told.code not in _WAITED_FOR
        if tries >= TRIES or told.code not in _WAITED_FOR | _TRIED_AGAIN:
            return told
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


async def _once(
    drawers: Drawers, asked: AskedJob, number: int, deadline_seconds: float, sign: Sign | None
) -> DrawnForJob:
    request = asked.drawing(number)
    begun, drawing = await _drawn(drawers, request, deadline_seconds)
    refuse_blanked(drawing)
    data = await asyncio.to_thread(
        picture_bytes,
        drawing.pixels,
        begun.origin(request, asked.prompt_digest),
        format=asked.output_format,
        quality=asked.output_compression,
        sign=sign,
    )
    facts = PictureFacts(
        model=request.model,
        model_digest=begun.model_digest,
        lora=request.lora,
        lora_digest=begun.lora_digest,
        seed=request.seed,
        index=request.index,
        num_steps=request.num_steps,
        guidance=request.guidance,
        sampler=request.sampler,
        width=request.width,
        height=request.height,
        prompt_digest=asked.prompt_digest,
    )
    return DrawnForJob(data, facts, begun.parents)


async def _drawn(
    drawers: Drawers, request: DrawRequest, deadline_seconds: float
) -> tuple[Begun, Drawing]:
    begun = drawing = None
    bounded = replace(request, timeout_seconds=deadline_seconds)
    async with aclosing(drawers.draw(bounded)) as items:
        async for item in items:
            if isinstance(item, Begun):
                begun = item
            elif isinstance(item, Drawing):
                drawing = item
    if begun is not None and drawing is not None:
        return begun, drawing
    raise ApiError(503, "what draws ended before the picture was there", code="stopping")
