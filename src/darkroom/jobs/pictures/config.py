"""Words for pictures that configs use, the bounds on one input file, how one is stored.

Imports neither ray nor torch.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from darkroom.config import Config, PositiveInt

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

ImageFormat = Literal["jpeg", "png", "webp"]
Side = Annotated[int, Field(ge=1, le=16_384)]


class LimitsConfig(Config):
    """Bounds on one input file; a file beyond them becomes a dead letter, undecoded."""

    max_bytes: PositiveInt = 64 * 1024 * 1024
    """Most encoded bytes."""
    max_pixels: PositiveInt = 50_000_000
    """Most pixels (width x height) by the header: the guard against decompression bombs."""
    min_side: Side = 1
    """Least width and height in pixels."""


class EncodingConfig(Config):
    """How pictures are stored."""

    format: Literal["keep", "jpeg", "png", "webp"] = "keep"
    """keep stores a file's own bytes where nothing had to change, else re-encodes in its format."""
    quality: Annotated[int, Field(ge=1, le=100)] = 95
    """Quality of JPEG and of lossy WebP; PNG ignores it."""
    lossless: bool = False
    """Lossless WebP; the other formats ignore it."""
