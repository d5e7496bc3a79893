"""One figure as it is reported: never without its sample size, interval and floor."""

from __future__ import annotations

import dataclasses
from typing import Any

from darkroom.metrics.bootstrap import Interval

UNBIASED_IMAGES = 10_000
IMAGES_PER_DIMENSION = 10


@dataclasses.dataclass(frozen=True)
class MetricSummary:
    """A figure with what is needed to read it."""

    value: float
    n: int
    """Generated images that it stands on."""
    interval: Interval | None = None
    floor: float | None = None
    """What real images score against real images at the same n: the best there is to reach."""
    biased: bool = False
    """Whether n is too small for the figure to be compared with others' (see `is_biased`)."""
    note: str = ""

    @property
    def over_floor(self) -> float | None:
        """value / floor; None without a floor above 0."""
        return self.value / self.floor if self.floor else None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**dataclasses.asdict(self), "over_floor": self.over_floor}


def is_biased(n: int, dim: int) -> bool:
    """Whether a Frechet distance of n images in dim dimensions is mostly sampling bias.

    True below 10,000 images, the customary least for FID, or below ten images per dimension.
    """
    return n < UNBIASED_IMAGES or n < IMAGES_PER_DIMENSION * dim


def frechet_summary(
    value: float, *, n: int, dim: int, interval: Interval | None, floor: float | None
) -> MetricSummary:
    """A Frechet distance, with the word "biased" where it belongs."""
    biased = is_biased(n, dim)
    note = f"biased: {n} images in {dim} dimensions; compare only with its floor" if biased else ""
    return MetricSummary(value, n, interval, floor, biased, note)
