"""The seed of each image of a run: what the image's noise is a function of. Needs no torch."""

from __future__ import annotations

import hashlib


def image_seed(seed: int, index: int) -> int:
    """The 64-bit seed of image `index` of a run with `seed`."""
    digest = hashlib.sha256(f"image {seed} {index}".encode()).digest()
    return int.from_bytes(digest[:8], "big")
