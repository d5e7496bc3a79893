"""How many pictures may share a step: measured for each shape, halved when memory runs out.

Where two pictures take nearly twice as long as one, a batch gains nothing and makes everybody wait
for everybody: such a shape is drawn one picture at a time. Each doubling is judged by the same
rule. The cap holds for as long as the process lives, and is measured while others start beside it:
so a short step is repeated, and one doubling that does not pay is not the end.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from darkroom.jobs.batch.stage import is_out_of_memory
from darkroom.jobs.serve.engine.joined import BatchKey

MAX_DOUBLING = 1.9
"""A batch of twice as many may take so many times as long, no longer."""
MAX_STEP_SECONDS = 5.0
"""Larger batches than one whose step takes so long are not tried: whoever leaves, or joins, waits
for a step to end."""
_REPEATS = 3
_ENOUGH_SECONDS = 0.1
_MOST_REPEATS = 20
"""A step is repeated at least so many times, then until that took so long, or so many times."""
_LONG_SECONDS = 2.0
"""A step that takes so long is not repeated."""


class Steppable(Protocol):
    """A picture under way."""

    @property
    def done(self) -> bool: ...


def measure(
    begin: Callable[[], Steppable], step: Callable[[Sequence[Any]], None], *, most: int
) -> dict[int, float]:
    """Seconds of a step by its number of pictures, of those that pay: 1, 2, 4, ... at most `most`.

    The last one is the cap. Errors: what the first picture raises.
    """
    pictures = [begin()]
    step(pictures)  # warms: kernels are chosen, memory is taken
    seconds = {1: _seconds(begin, step, pictures)}
    while (size := 2 * len(pictures)) <= most and len(pictures) <= 2 * (paid := max(seconds)):
        try:
            pictures += [begin() for _ in pictures]
            found = _seconds(begin, step, pictures)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            break
        if found > MAX_STEP_SECONDS:
            break
        if found <= MAX_DOUBLING ** math.log2(size / paid) * seconds[paid]:
            seconds[size] = found
    return seconds


def _seconds(
    begin: Callable[[], Steppable],
    step: Callable[[Sequence[Any]], None],
    pictures: list[Steppable],
) -> float:
    """The shortest of a few: what other programs take is not the step's.

    A picture that is done gives its place to another.
    """
    found: list[float] = []
    while len(found) < _REPEATS or sum(found) < _ENOUGH_SECONDS:
        pictures[:] = [begin() if picture.done else picture for picture in pictures]
        start = time.perf_counter()
        step(pictures)
        found.append(time.perf_counter() - start)
        if found[-1] > _LONG_SECONDS or len(found) == _MOST_REPEATS:
            break
    return min(found)


class Caps:
    """The cap of each key. One thread's own."""

    def __init__(self) -> None:
        self._caps: dict[BatchKey, int] = {}
        self._seconds: dict[BatchKey, dict[int, float]] = {}

    def knows(self, key: BatchKey) -> bool:
        return key.exact or _plain(key) in self._caps

    def learn(self, key: BatchKey, seconds: dict[int, float]) -> None:
        """What `measure` found."""
        self._caps[_plain(key)] = max(seconds)
        self._seconds[_plain(key)] = seconds

    def of(self, key: BatchKey) -> int:
        """Most pictures at once."""
        return 1 if key.exact else self._caps.get(_plain(key), 1)

    def halve(self, key: BatchKey, size: int) -> int:
        """After a batch of `size` ran out of memory; returns the new cap."""
        self._caps[_plain(key)] = cap = max(1, min(self.of(key), size) // 2)
        return cap

    def seconds_per_step(self, key: BatchKey) -> float:
        """Of one picture's step in a full batch; 0 before it was measured."""
        known = self._seconds.get(_plain(key), {})
        within = [size for size in known if size <= self.of(key)]
        return known[max(within)] / max(within) if within else 0.0

    def table(self) -> list[dict[str, Any]]:
        """For people and metrics."""
        return [
            {
                "model": key.model,
                "width": key.width,
                "height": key.height,
                "guided": key.guided,
                "cap": cap,
                "step_seconds": dict(self._seconds.get(key, {})),
            }
            for key, cap in self._caps.items()
        ]


def _plain(key: BatchKey) -> BatchKey:
    """A LoRA changes nothing of what a step costs."""
    return BatchKey(key.model, None, key.width, key.height, key.guided, exact=False)
