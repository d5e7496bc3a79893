"""A clock that stands still until a test moves it, in the place of `time.monotonic`."""

from __future__ import annotations


class Clock:
    """now: seconds; a test may set it."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        """In the place of `time.sleep`."""
        self.now += seconds
