"""`POST /v1/images/generations`: from a request to pictures, in one answer or as events.

What is wrong with a request is said before it is let in; what goes wrong later is an error of the
same shape, in a stream the last event. Nothing here logs a prompt or a key.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncGenerator
from contextlib import ExitStack, aclosing
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.types import Receive

from darkroom.errors import (
    ClosingError,
    DarkroomError,
    DeadlineError,
    DeviceMemoryError,
    InputError,
    ReplicaLostError,
)
from darkroom.jobs.batch.stage import is_out_of_memory
from darkroom.jobs.drawing.drawer import Pixels
from darkroom.jobs.drawing.picture_bytes import Sign, picture_bytes
from darkroom.jobs.serve.admission import Admission
from darkroom.jobs.serve.api_error import ApiError
from darkroom.jobs.serve.client_gone import ClientGoneError, EventStream, event, unless_gone
from darkroom.jobs.serve.drawers import Begun, Drawers, Drawn, draw_all, refuse_blanked
from darkroom.jobs.serve.drawings import Drawings
from darkroom.jobs.serve.images_request import ImagesRequest
from darkroom.jobs.serve.request import Drawing, Preview

CLOSE = {"connection": "close"}
"""A connection that a client keeps alive stays with a cluster that an upgrade replaces; one
per picture costs nothing and follows the Service at once."""

HEARTBEAT_SECONDS = 15.0
"""Proxies cut a stream that is silent for 60 s."""

_WIRE_NAMES = {"num_steps": "steps", "guidance": "guidance_scale", "label": "class"}
"""What clients call the fields of a DrawRequest."""

Body = dict[str, Any]


class ImagesRun:
    """One admitted request."""

    def __init__(
        self,
        drawers: Drawers,
        request: ImagesRequest,
        drawings: Drawings,
        *,
        sign: Sign | None = None,
    ) -> None:
        self._drawers, self._request, self._drawings = drawers, request, drawings
        self._sign = sign
        self._created = int(time.time())
        self._begun: dict[int, Begun] = {}
        self._data: dict[int, Body] = {}

    async def answer(self) -> Body:
        """The whole answer."""

        async def take(index: int, item: Drawn) -> None:
            if isinstance(item, Drawing):
                self._data[index] = await self._drawn(index, item)
            elif isinstance(item, Begun):
                self._begun[index] = item

        await draw_all(self._drawers, self._drawings.requests, take)
        data = [self._data[index] for index in range(len(self._drawings.requests))]
        about = self._about(0)
        del about["quality"]  # the client's types have no "auto" here, but in events
        return {"created": self._created, "data": data, **about}

    async def events(self) -> AsyncGenerator[bytes]:
        """Partial pictures as they come, and each picture when it is done."""
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=4)

        async def take(index: int, item: Drawn) -> None:
            if isinstance(item, Begun):
                self._begun[index] = item
            else:
                await queue.put(await self._event(index, item))

        async def draw() -> None:
            try:
                await draw_all(self._drawers, self._drawings.requests, take)
            finally:
                await queue.put(None)

        task = asyncio.create_task(draw())
        try:
            while (data := await queue.get()) is not None:
                yield data
            await task
        finally:
            task.cancel()
            while not task.done():  # its last put may wait for room
                while not queue.empty():
                    queue.get_nowait()
                await asyncio.wait({task}, timeout=0.1)

    async def _event(self, index: int, item: Preview | Drawing) -> bytes:
        shared: Body = {"created_at": self._created, "index": index, **self._about(index)}
        if isinstance(item, Drawing):
            name = "image_generation.completed"
            return event(name, {"type": name, **await self._drawn(index, item), **shared})
        name = "image_generation.partial_image"
        return event(
            name,
            {
                "type": name,
                "b64_json": await self._encoded(index, item.pixels),
                "partial_image_index": item.index,
                "step": item.step,
                "steps": item.num_steps,
                **shared,
            },
        )

    async def _drawn(self, index: int, drawing: Drawing) -> Body:
        request = self._drawings.requests[index]
        refuse_blanked(drawing)
        return {
            "b64_json": await self._encoded(index, drawing.pixels),
            "seed": request.seed,
            "index": request.index,
            "steps": drawing.num_steps,
            "guidance_scale": request.guidance,
            "sampler": request.sampler,
            "prompt_digest": self._drawings.prompt_digest,
            "waited_seconds": round(drawing.waited_seconds, 4),
            "drawing_seconds": round(drawing.drawing_seconds, 4),
        }

    async def _encoded(self, index: int, pixels: Pixels) -> str:
        """Off the event loop, which must answer health checks."""
        request = self._drawings.requests[index]
        origin = self._begun[index].origin(request, self._drawings.prompt_digest)

        def encode() -> str:
            data = picture_bytes(
                pixels,
                origin,
                format=self._request.format,
                quality=self._request.output_compression,
                sign=self._sign,
            )
            return base64.b64encode(data).decode()

        return await asyncio.to_thread(encode)

    def _about(self, index: int) -> Body:
        """What OpenAI's answer says of all pictures, and which weights drew."""
        request, begun = self._drawings.requests[index], self._begun[index]
        return {
            "background": "opaque",
            "output_format": self._request.output_format,
            "quality": self._request.quality,
            "size": f"{request.width}x{request.height}",
            "model": request.model,
            "model_digest": begun.model_digest,
            **({"lora_digest": begun.lora_digest} if begun.lora_digest else {}),
        }

    async def respond(
        self, receive: Receive, admission: Admission, owner: str, deadline_seconds: float
    ) -> Response | EventStream:
        """Let the request in, draw, answer. Errors: ApiError, ClientGoneError."""
        with ExitStack() as stack:
            stack.enter_context(admission.admitted(owner, self._drawings.work))
            if self._request.stream:
                events = self._bounded_events(deadline_seconds)
                return EventStream(
                    events, CLOSE, release=stack.pop_all(), heartbeat_seconds=HEARTBEAT_SECONDS
                )
            try:
                async with asyncio.timeout(deadline_seconds):
                    body = await unless_gone(receive, self.answer())
            except ClientGoneError:
                raise
            except Exception as error:
                raise as_api_error(error) from error
        return JSONResponse(body, headers={"cache-control": "no-store", **CLOSE})

    async def _bounded_events(self, deadline_seconds: float) -> AsyncGenerator[bytes]:
        """The events; one of an error ends them."""
        deadline = asyncio.get_running_loop().time() + deadline_seconds
        async with aclosing(self.events()) as events:
            try:
                while True:
                    async with asyncio.timeout_at(deadline):
                        data = await anext(events, None)
                    if data is None:
                        return
                    yield data
            except Exception as error:  # noqa: BLE001 - the answer has begun
                yield event("error", as_api_error(error).body)


def as_api_error(error: Exception) -> ApiError:
    """What a client is told of a drawing that failed."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, (TimeoutError, DeadlineError)):
        # A retry would draw it all again, twice, and take as long.
        return ApiError(
            408, "the drawing took longer than this service's deadline",
            code="deadline_exceeded", should_retry=False,
        )  # fmt: skip
    if isinstance(error, DeviceMemoryError) or is_out_of_memory(error):
        return ApiError(503, "memory ran out; smaller batches follow", code="out_of_memory",
                        retry_after=1)  # fmt: skip
    if isinstance(error, ClosingError):
        return ApiError(503, "the service is stopping", code="stopping", retry_after=5)
    if isinstance(error, InputError):
        param = _WIRE_NAMES.get(error.field, error.field)
        return ApiError(400, f"{param}: {error.problem}", code="invalid_value", param=param)
    if isinstance(error, DarkroomError) and not isinstance(error, ReplicaLostError):
        return ApiError(500, str(error), code="drawing_failed", should_retry=False)
    return ApiError(500, "the drawing failed", code="internal_error")
