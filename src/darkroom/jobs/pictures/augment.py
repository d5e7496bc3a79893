"""One random variant of a picture, by the declared transformations.

Assumes an L or RGB picture. The draws come in a fixed order (flip, crop, brightness, contrast,
saturation, hue) from a stream of (seed, picture id, copy index); resizing to the wanted size is
`resize.py`'s business, which runs afterwards.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from darkroom.jobs.pictures.config import ColorJitterConfig, RandomCropConfig, TransformsConfig
from darkroom.jobs.seeding import generator


def augment(
    image: Image.Image, config: TransformsConfig, *, seed: int, image_id: str, copy: int
) -> Image.Image:
    """Copy number `copy` (from 1) of a picture."""
    random = generator(seed, f"augment {copy}", image_id)
    if random.random() < config.horizontal_flip:
        image = ImageOps.mirror(image)
    if config.crop is not None:
        image = _crop(image, config.crop, random)
    if config.color_jitter is not None:
        image = _jitter(image, config.color_jitter, random)
    return image


def _crop(image: Image.Image, config: RandomCropConfig, random: np.random.Generator) -> Image.Image:
    """A window of random area, aspect and place."""
    width, height = image.size
    area = random.uniform(config.min_area, 1.0)
    stretch = math.exp(random.uniform(-1.0, 1.0) * math.log(config.max_aspect))
    crop_width = max(1, min(width, round(width * math.sqrt(area * stretch))))
    crop_height = max(1, min(height, round(height * math.sqrt(area / stretch))))
    left = int(random.integers(0, width - crop_width, endpoint=True))
    top = int(random.integers(0, height - crop_height, endpoint=True))
    return image.crop((left, top, left + crop_width, top + crop_height))


def _jitter(
    image: Image.Image, config: ColorJitterConfig, random: np.random.Generator
) -> Image.Image:
    brightness, contrast, saturation = (
        random.uniform(1 - x, 1 + x)
        for x in (config.brightness, config.contrast, config.saturation)
    )
    hue = random.uniform(-config.hue, config.hue)
    if config.brightness:
        image = ImageEnhance.Brightness(image).enhance(brightness)
    if config.contrast:
        image = ImageEnhance.Contrast(image).enhance(contrast)
    if config.saturation:
        image = ImageEnhance.Color(image).enhance(saturation)
    return _shift_hue(image, hue) if config.hue else image


def _shift_hue(image: Image.Image, turn: float) -> Image.Image:
    """Turn the colour circle by `turn` (1.0 is once round)."""
    hue, saturation, value = image.convert("HSV").split()
    turned = (np.asarray(hue).astype(np.int64) + round(turn * 256)) % 256
    hue = Image.fromarray(turned.astype(np.uint8))
    return Image.merge("HSV", (hue, saturation, value)).convert("RGB")
