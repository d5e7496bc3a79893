"""A decoded picture as the model wants it: resized, its centre cut out, still uint8.

The arithmetic of torchvision's `Resize` and `CenterCrop` on PIL pictures, pixel for pixel, without
importing torch. What comes after (scaling and normalising) happens on the model's device.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from darkroom.models.classifier import Preprocess

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def transform(image: Image.Image, preprocess: Preprocess) -> NDArray[np.uint8]:
    """An RGB picture as H x W x 3 of the crop's size."""
    width, height = resized_size(image.size, preprocess.resize)
    if (width, height) != image.size:
        image = image.resize((width, height), _FILTERS[preprocess.interpolation])
    return np.asarray(centre(image, preprocess.crop))


def resized_size(size: tuple[int, int], target: int | tuple[int, int]) -> tuple[int, int]:
    """(width, height) after resizing; the longer side is rounded down."""
    if isinstance(target, tuple):
        return target[1], target[0]
    width, height = size
    if width <= height:
        return target, max(1, int(target * height / width))
    return max(1, int(target * width / height)), target


def centre(image: Image.Image, crop: tuple[int, int]) -> Image.Image:
    """The middle of the picture; what it lacks is black."""
    height, width = crop
    if image.width < width or image.height < height:
        missing_x, missing_y = max(0, width - image.width), max(0, height - image.height)
        border = (
            missing_x // 2,
            missing_y // 2,
            (missing_x + 1) // 2,
            (missing_y + 1) // 2,
        )
        image = ImageOps.expand(image, border)
    left = round((image.width - width) / 2.0)
    top = round((image.height - height) / 2.0)
    return image.crop((left, top, left + width, top + height))
