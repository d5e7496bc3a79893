"""Progress of a job on stderr: a bar on a terminal, a line every ten seconds anywhere else.

Assumes one bar at a time. Counts are whatever unit the caller names; nothing is printed on
stdout, which belongs to results.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

from tqdm import tqdm

LINE_INTERVAL_SECONDS = 10.0

_moved = time.monotonic()


def seconds_since_progress() -> float:
    """Since a bar of this process began or moved; since its start where none has."""
    return time.monotonic() - _moved


def _move() -> None:
    global _moved  # noqa: PLW0603 - a process has one job and one bar
    _moved = time.monotonic()


class Progress(Protocol):
    """What the caller of `progress` gets."""

    def advance(self, count: float = 1, **figures: object) -> None:
        """Add `count` units; `figures` (loss=0.1) stand behind the bar."""


@contextmanager
def progress(
    total: float, description: str, unit: str, *, stream: TextIO | None = None
) -> Iterator[Progress]:
    """A bar over `total` units, on stderr unless `stream` is given."""
    stream = sys.stderr if stream is None else stream
    shown = _Bar if stream.isatty() else _Lines
    bar = shown(total, description, unit, stream)
    _move()
    try:
        yield bar
    finally:
        bar.close()


class _Bar:
    def __init__(self, total: float, description: str, unit: str, stream: TextIO) -> None:
        self._bar = tqdm(
            total=total, desc=description, unit=f" {unit}", file=stream, dynamic_ncols=True
        )

    def advance(self, count: float = 1, **figures: object) -> None:
        _move()
        if figures:
            self._bar.set_postfix({name: _shown(value) for name, value in figures.items()})
        self._bar.update(count)

    def close(self) -> None:
        self._bar.close()


class _Lines:
    """For logs: no carriage returns, few lines, and always one at the end."""

    def __init__(self, total: float, description: str, unit: str, stream: TextIO) -> None:
        self._total, self._description, self._unit, self._stream = total, description, unit, stream
        self._done = 0.0
        self._figures: dict[str, object] = {}
        self._started = self._printed = time.monotonic()

    def advance(self, count: float = 1, **figures: object) -> None:
        _move()
        self._done += count
        self._figures = figures or self._figures
        if time.monotonic() - self._printed >= LINE_INTERVAL_SECONDS:
            self._print()

    def close(self) -> None:
        self._print()

    def _print(self) -> None:
        self._printed = time.monotonic()
        seconds = self._printed - self._started
        figures = "".join(f", {name} {_shown(value)}" for name, value in self._figures.items())
        print(
            f"{self._description}: {self._done:g}/{self._total:g} {self._unit} "
            f"in {seconds:.1f} s{figures}",
            file=self._stream,
            flush=True,
        )


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
