"""Room for pictures of jobs beside requests, which people wait for.

While no request is under way here, `at_once` pictures of jobs are drawn at a time; beside requests
one; and none begins while requests fill half of the room that there is for their work. A picture
that has waited for WAIT_SECONDS begins in any case, alone: a flood slows jobs down and stops none.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from darkroom.jobs.serve.admission import Admission

WAIT_SECONDS = 60.0


class SpareRoom:
    """Of one replica of the HTTP side. On its event loop."""

    def __init__(self, admission: Admission, *, at_once: int) -> None:
        self._admission, self._at_once = admission, at_once
        self._drawing = 0
        self._turn = asyncio.Lock()
        """First come, first served: jobs side by side take turns."""
        self._changed = asyncio.Event()
        admission.on_leaving(self._changed.set)

    @asynccontextmanager
    async def picture(self) -> AsyncIterator[None]:
        """Lets one picture be drawn for as long as the context lasts; waits until it may."""
        async with self._turn:
            await self._wait()
            self._drawing += 1
        try:
            yield
        finally:
            self._drawing -= 1
            self._changed.set()

    async def _wait(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(WAIT_SECONDS):
                await self._until(self._may_begin)
        await self._until(lambda: self._drawing == 0 or self._may_begin())

    async def _until(self, done: Callable[[], bool]) -> None:
        while not done():
            self._changed.clear()
            await self._changed.wait()

    def _may_begin(self) -> bool:
        if self._admission.under_way == 0:
            return self._drawing < self._at_once
        return self._drawing == 0 and self._admission.has_half_its_room
