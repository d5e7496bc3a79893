"""Words for pictures that configs use, bounds on one input file, how one is stored and varied.

Imports neither ray nor torch.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from darkroom.config import Config, Fraction, PositiveInt

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


class RandomCropConfig(Config):
    """A random window of the picture, resized as the picture itself would be."""

    min_area: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Least share of the picture's area that a crop keeps."""
    max_aspect: Annotated[float, Field(ge=1, le=4)] = 1.1
    """Most by which a crop stretches width against height, either way."""


class ColorJitterConfig(Config):
    """Random changes of colour, each drawn uniformly from [1 - x, 1 + x] (hue: [-x, x])."""

    brightness: Fraction = 0.0
    """Range of the brightness factor."""
    contrast: Fraction = 0.0
    """Range of the contrast factor."""
    saturation: Fraction = 0.0
    """Range of the saturation factor; colour pictures only."""
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Range of the hue shift as a share of the colour circle; colour pictures only."""

    @property
    def is_identity(self) -> bool:
        """Nothing would ever change."""
        return not (self.brightness or self.contrast or self.saturation or self.hue)


class TransformsConfig(Config):
    """Random changes of a picture that leave what it shows as it is."""

    horizontal_flip: Fraction = 0.0
    """Probability of mirroring left and right (never for digits or text)."""
    crop: RandomCropConfig | None = None
    """Random crop; null for none."""
    color_jitter: ColorJitterConfig | None = None
    """Random change of colour; null for none."""

    @property
    def is_identity(self) -> bool:
        """No transformation is declared."""
        jitter = self.color_jitter
        return not self.horizontal_flip and self.crop is None and (not jitter or jitter.is_identity)
