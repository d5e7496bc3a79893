"""A request in the engine: from its arrival to the last thing that is said of it.

The event loop's side waits and may cancel; the drawing thread looks at `cancelled` between steps
and tells what it has.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Any

from darkroom.errors import DeadlineError
from darkroom.jobs.serve.engine.joined import BatchKey, Finished
from darkroom.jobs.serve.request import Drawing, DrawRequest, Preview


class Ticket:
    """Made on the event loop that waits for it."""

    def __init__(self, request: DrawRequest, key: BatchKey) -> None:
        self.request, self.key = request, key
        self.picture: Any = None
        """Of the model's making, once begun."""
        self.num_done = 0
        self.largest_batch = 0
        self.cancelled = False
        """Set by the event loop, read by the drawing thread."""
        self._arrived = time.monotonic()
        self._begun: float | None = None
        self._previews = _preview_steps(request)
        self._loop = asyncio.get_running_loop()
        self._told: asyncio.Queue[Preview | Drawing | Exception] = asyncio.Queue()

    # On the drawing thread.

    def begin(self) -> float:
        """The first step comes next. Returns the seconds it was waited for."""
        self._begun = time.monotonic()
        return self._begun - self._arrived

    @property
    def begun(self) -> bool:
        return self._begun is not None

    def preview_due(self) -> int | None:
        """The index of the preview to make after `num_done` steps."""
        return self._previews.index(self.num_done) if self.num_done in self._previews else None

    def preview(self, index: int, pixels: Any) -> None:
        self.tell(Preview(index, self.num_done, self.request.num_steps, pixels))

    def finish(self, found: Finished) -> None:
        now = time.monotonic()
        begun = self._begun or now
        self.tell(
            Drawing(
                found.pixels, self.request.num_steps, begun - self._arrived, now - begun,
                self.largest_batch, flagged=found.flagged, num_tokens_cut=found.num_tokens_cut,
            )
        )  # fmt: skip

    def tell(self, news: Preview | Drawing | Exception) -> None:
        """From any thread; a drawing or an exception is the last."""
        try:
            self._loop.call_soon_threadsafe(self._told.put_nowait, news)
        except RuntimeError:  # the loop is closed: nobody waits any more
            self.cancelled = True

    # On the event loop.

    async def news(self) -> AsyncGenerator[Preview | Drawing]:
        """What is told, to the drawing. Leaving it, however, cancels.

        Errors: DeadlineError; what was told.
        """
        timeout = self.request.timeout_seconds
        try:
            while True:
                left = None if timeout is None else self._arrived + timeout - time.monotonic()
                try:
                    news = await asyncio.wait_for(self._told.get(), left)
                except TimeoutError:
                    raise DeadlineError(
                        f"the picture was not done after {timeout:g} s ({self.num_done} of "
                        f"{self.request.num_steps} steps)"
                    ) from None
                if isinstance(news, Exception):
                    raise news
                yield news
                if isinstance(news, Drawing):
                    return
        finally:
            self.cancelled = True


def _preview_steps(request: DrawRequest) -> list[int]:
    """After which steps a preview is made: evenly over the way, without both ends."""
    parts = request.num_previews + 1
    steps = {round(request.num_steps * part / parts) for part in range(1, parts)}
    return sorted(steps - {0, request.num_steps})
