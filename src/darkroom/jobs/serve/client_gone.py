"""Work that ends when the client goes away, and event streams that do.

Whatever Ray's own header about disconnects says, the connection is watched here.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Coroutine, Mapping
from contextlib import ExitStack, aclosing
from typing import Any, TypeVar

from starlette.types import Receive, Scope, Send

ResultT = TypeVar("ResultT")

_HEARTBEAT = b": drawing\n\n"
"""Without `id:` and `retry:`, which the official client's decoder stumbles over."""


class ClientGoneError(Exception):
    """Nobody waits for the answer any more."""


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, ResultT]) -> ResultT:
    """What `work` returns; it is cancelled when the client goes away.

    The request's body must have been read. Errors: ClientGoneError, and the work's own.
    """
    task, watch = asyncio.ensure_future(work), asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientGoneError
    finally:
        task.cancel()
        watch.cancel()
        await asyncio.gather(task, watch, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def event(name: str, data: Mapping[str, Any]) -> bytes:
    """One event of a text/event-stream."""
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


class EventStream:
    """An ASGI response that sends events, and heartbeats while there are none."""

    def __init__(
        self,
        events: AsyncGenerator[bytes],
        headers: Mapping[str, str],
        *,
        release: ExitStack,
        heartbeat_seconds: float,
    ) -> None:
        """release: closed at the end, however it comes."""
        self._events, self._heartbeat_seconds = events, heartbeat_seconds
        self._release = release
        self._headers = {
            "content-type": "text/event-stream; charset=utf-8",
            "cache-control": "no-store",
            "x-accel-buffering": "no",  # nginx would keep events back
            **headers,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(name.encode(), value.encode()) for name, value in self._headers.items()]
        with self._release:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            try:
                await unless_gone(receive, self._send_all(send))
            except ClientGoneError:
                return
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_all(self, send: Send) -> None:
        async with aclosing(self._events) as events:
            following = asyncio.ensure_future(anext(events, None))
            try:
                while True:
                    done, _ = await asyncio.wait({following}, timeout=self._heartbeat_seconds)
                    data = following.result() if done else _HEARTBEAT
                    if data is None:
                        return
                    await send({"type": "http.response.body", "body": data, "more_body": True})
                    if done:
                        following = asyncio.ensure_future(anext(events, None))
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
