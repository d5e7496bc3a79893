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
from typing import Any

from darkroom.jobs.batch.stage import is_out_of_memory
from darkroom.jobs.serve.engine.joined import BatchKey

MAX_DOUBLING = 1.9
"""A batch of twice as many may take so many times as long, no longer."""
MAX_STEP_SECONDS = 5.0
"""Larger batches than one whose step takes so long are not tried: whoever leaves, or joins, waits
for a step to end."""
_REPEATS = 3
_ENOUGH_SECONDS = 0.1
"""A step is repeated at least so many times, and for so long in all."""
_LONG_SECONDS = 2.0
"""A step that takes so long is not repeated."""


def measure(
    begin: Callable[[], Any], step: Callable[[Sequence[Any]], None], *, most: int
) -> dict[int, float]:
    """Seconds of a step by its number of pictures, of those that pay: 1, 2, 4, ... at most `most`.

    The last one is the cap. begin: makes a picture with many steps ahead.
    Errors: what the first picture raises.
    """
    pictures = [begin()]
    step(pictures)  # warms: kernels are chosen, memory is taken
    seconds = {1: _seconds(step, pictures)}
    tried, paid = 1, 1
    while (size := 2 * tried) <= most and tried <= 2 * paid:
        try:
            pictures += [begin() for _ in range(size - len(pictures))]
            found = _seconds(step, pictures)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            break
        if found > MAX_STEP_SECONDS:
            break
        tried = size
        if found <= MAX_DOUBLING ** math.log2(size / paid) * seconds[paid]:
            seconds[size], paid = found, size
    return seconds


def _seconds(step: Callable[[Sequence[Any]], None], pictures: Sequence[Any]) -> float:
    """The shortest of a few: what other programs take is not the step's."""
    shortest, passed, repeats = float("inf"), 0.0, 0
    while repeats < _REPEATS or passed < _ENOUGH_SECONDS:
        start = time.perf_counter()
        step(pictures)
        took = time.perf_counter() - start
        shortest, passed, repeats = min(shortest, took), passed + took, repeats + 1
        if took > _LONG_SECONDS:
            break
    return shortest


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
