"""A clean picture to its stored bytes.

Assumes an L or RGB picture without metadata, at its final size.
"""

from __future__ import annotations

import io

from PIL import Image

from darkroom.jobs.pictures.config import EncodingConfig, ImageFormat
from darkroom.jobs.pictures.decode import Picture


def stored_bytes(
    picture: Picture, data: bytes, config: EncodingConfig, *, image: Image.Image | None = None
) -> bytes:
    """What is kept of `picture`, which was decoded from `data`, or of what was made of it."""
    if image is None or image is picture.image:
        if picture.is_exact and config.format == "keep":
            return data
        image = picture.image
    return encode(image, config, own_format=picture.format)


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
