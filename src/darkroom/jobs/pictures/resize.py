"""A clean picture to its stored size.

Assumes an L or RGB picture without metadata. Which pictures exist is decided elsewhere.
"""

from __future__ import annotations

from typing import Literal

from PIL import Image, ImageOps

Fit = Literal["crop", "pad", "stretch"]

_FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
    "nearest": Image.Resampling.NEAREST,
}


def resize(
    image: Image.Image, size: tuple[int, int], *, fit: Fit, resample: str, background: int
) -> Image.Image:
    """`image` at `size` = (height, width); the same object when it has that size already."""
    height, width = size
    if image.size == (width, height):
        return image
    method = _FILTERS[resample]
    match fit:
        case "crop":
            return ImageOps.fit(image, (width, height), method)
        case "pad":
            color = background if image.mode == "L" else (background,) * 3
            return ImageOps.pad(image, (width, height), method, color=color)
        case "stretch":
            return image.resize((width, height), method)
