"""One picture of a job, from its number to its bytes; tried again where that may help.

Long work outlives what fails meanwhile: where nothing can draw, because replicas stop, load, or
are at zero, it is waited for. The deadline counts from when a replica has begun the picture.
What a picture itself may be to blame for (memory, the deadline) is tried a few times, and so is,
more often, the loss of the replica that drew it.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from dataclasses import dataclass, replace

from darkroom.errors import ReplicaLostError
from darkroom.jobs.artifacts.drawings import PictureFacts
from darkroom.jobs.drawing.picture_bytes import Sign, picture_bytes
from darkroom.jobs.serve.api_error import ApiError
from darkroom.jobs.serve.drawers import Begun, Drawers, refuse_blanked
from darkroom.jobs.serve.images_api import as_api_error
from darkroom.jobs.serve.jobs.records import AskedJob
from darkroom.jobs.serve.request import Drawing, DrawRequest
from darkroom.storage import Parent

TRIES = 5
MAX_LOST = 10
"""Replicas that may be lost with one picture: machines that are taken away are no fault of its, but
one that takes down whatever draws it must not do so for ever."""
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
_WAITED_FOR = frozenset({"stopping", "not_ready"})
_TRIED_AGAIN = frozenset({"out_of_memory", "deadline_exceeded", "internal_error"})

_log = logging.getLogger("darkroom.serve.jobs")


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
    """Picture `number`, or why it cannot be drawn. Being cancelled stops it at the next step.

    deadline_seconds: of each try, from when a replica has begun it.
    """
    pause, tries, lost = FIRST_PAUSE_SECONDS, 0, 0
    while True:
        try:
            return await _once(drawers, asked, number, deadline_seconds, sign)
        except ReplicaLostError as error:
            lost += 1
            _log.warning("%s: picture %d: %s", asked.id, number, error)
            if lost >= MAX_LOST:
                return _given_up(lost)
        except Exception as error:  # noqa: BLE001 - whatever it is, the picture's record tells
            told = as_api_error(error)
            tries += told.code not in _WAITED_FOR
            if tries >= TRIES or told.code not in _WAITED_FOR | _TRIED_AGAIN:
                return told
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def _given_up(num_lost: int) -> ApiError:
    problem = f"the picture was given up: what drew it was lost, {num_lost} times"
    return ApiError(500, problem, code="given_up", should_retry=False)


async def _once(
    drawers: Drawers, asked: AskedJob, number: int, deadline_seconds: float, sign: Sign | None
) -> DrawnForJob:
    request = asked.drawing(number)
    async with asyncio.timeout(None) as limit:
        begun, drawing = await _drawn(drawers, request, deadline_seconds, limit)
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
    drawers: Drawers, request: DrawRequest, deadline_seconds: float, limit: asyncio.Timeout
) -> tuple[Begun, Drawing]:
    begun = drawing = None
    bounded = replace(request, timeout_seconds=deadline_seconds)
    async with aclosing(drawers.draw(bounded)) as items:
        async for item in items:
            if isinstance(item, Begun):
                begun = item
                # A replica that hangs does not hold to the deadline that it was given.
                limit.reschedule(asyncio.get_running_loop().time() + deadline_seconds)
            elif isinstance(item, Drawing):
                drawing = item
    if begun is not None and drawing is not None:
        return begun, drawing
    raise ApiError(503, "what draws ended before the picture was there", code="stopping")
