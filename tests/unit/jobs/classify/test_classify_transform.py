"""Our resize and crop against torchvision's own transforms, pixel for pixel."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from tests.helpers.pictures import photograph
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

from darkroom.jobs.classify.transform import transform
from darkroom.models.classifier import Preprocess

SIZES = [(451, 300), (300, 451), (224, 224), (600, 231), (97, 513), (232, 232), (1000, 40)]


def preprocess(resize: int | tuple[int, int], crop: int, interpolation: str) -> Preprocess:
    return Preprocess(
        resize=resize,
        crop=(crop, crop),
        interpolation=interpolation,  # type: ignore[arg-type]
        mean=(0, 0, 0),
        std=(1, 1, 1),
    )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("resize", [232, 256, (224, 224), 200], ids=str)
def test_equal_to_torchvision(
    size: tuple[int, int], interpolation: str, resize: int | tuple[int, int]
) -> None:
    image = photograph("chelsea").resize(size)
    theirs = Compose([Resize(resize, InterpolationMode(interpolation)), CenterCrop(224)])(image)
    ours = transform(image, preprocess(resize, 224, interpolation))
    assert ours.shape == (224, 224, 3)
    np.testing.assert_array_equal(ours, np.asarray(theirs))


def test_a_picture_of_the_right_size_is_not_touched() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8))
    np.testing.assert_array_equal(transform(image, preprocess(224, 224, "bicubic")), image)
