"""A clean picture to its stored size and its stored bytes.

Assumes an L or RGB picture without metadata. Which pictures exist is decided elsewhere.
"""

from __future__ import annotations

import io
from typing import Literal

from PIL import Image, ImageOps

from darkroom.jobs.pictures.config import ImageFormat
from darkroom.jobs.prepare.config import EncodingConfig

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


def encode(image: Image.Image, config: EncodingConfig, *, own_format: ImageFormat) -> bytes:
    """The stored bytes; `own_format` is what `keep` falls back on."""
    out = io.BytesIO()
    chosen = own_format if config.format == "keep" else config.format
    if chosen == "webp" and image.mode == "L":
        chosen = "png"  # WebP has no grey pictures
    match chosen:
        case "png":
            image.save(out, "PNG")
        case "jpeg":
            # 4:4:4: a model would learn the smeared colour of subsampling.
            image.save(out, "JPEG", quality=config.quality, subsampling=0)
        case "webp":
            image.save(out, "WEBP", quality=config.quality, lossless=config.lossless, exact=True)
    return out.getvalue()
