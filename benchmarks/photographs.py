"""Folders of many different photographs, made of a few real ones, for benchmarks to read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tests.helpers.pictures import PHOTOGRAPHS, encoded, photograph

LONG_SIDE = 640


def photographs(folder: Path, count: int) -> Path:
    """Different views of real photographs, 640 x 480, as JPEG of usual quality."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    names = sorted(PHOTOGRAPHS)
    for index in range(count):
        image = photograph(names[index % len(names)])
        width = int(image.width * random.uniform(0.6, 1.0))
        height = min(image.height, int(width * 0.75))
        left = int(random.integers(0, image.width - width + 1))
        top = int(random.integers(0, image.height - height + 1))
        view = image.crop((left, top, left + width, top + height)).resize((LONG_SIDE, 480))
        (folder / f"{index:05d}.jpg").write_bytes(encoded(view, quality=88))
    return folder
