"""Aspect-ratio buckets: sizes of about one area, of which each picture takes the nearest.

The list is that of diffusers' `generate_aspect_ratio_buckets` (training_utils), which needs torch
to be imported; preparing does not have it. Nearest is by the logarithm of the aspect ratio, as
NovelAI introduced it: what a crop must take off is a ratio, alike for tall and for wide pictures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from darkroom.jobs.prepare.config import BucketsConfig

Size = tuple[int, int]
"""Height and width in pixels."""

ASPECT_RATIOS = (
    (1, 1), (4, 5), (5, 4), (2, 3), (3, 2), (3, 4), (4, 3), (9, 16), (16, 9), (1, 2), (2, 1)
)  # fmt: skip
"""Width and height, in diffusers' order."""


def bucket_sizes(config: BucketsConfig) -> Sequence[Size]:
    """The sizes of the buckets, each once."""
    if config.sizes is not None:
        return config.sizes
    return list(dict.fromkeys(_size(width / height, config) for width, height in ASPECT_RATIOS))


def nearest_bucket(height: int, width: int, sizes: Sequence[Size]) -> Size:
    """The size whose aspect ratio is nearest by its logarithm; of two alike the first."""
    wanted = math.log(width / height)
    return min(sizes, key=lambda size: abs(math.log(size[1] / size[0]) - wanted))


def _size(aspect: float, config: BucketsConfig) -> Size:
    """Height times width is about the square of the resolution."""
    step = config.divisibility
    height = (config.resolution**2 / aspect) ** 0.5
    return (
        max(step, round(height / step) * step),
        max(step, round(height * aspect / step) * step),
    )
