"""Augmentation: a pure function of (seed, id, copy), and each transformation does its thing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from tests.helpers import pictures as files

from darkroom.jobs.pictures.augment import augment
from darkroom.jobs.pictures.config import ColorJitterConfig, RandomCropConfig
from darkroom.jobs.prepare.config import AugmentConfig

EVERYTHING = AugmentConfig(
    copies=2,
    horizontal_flip=0.5,
    crop=RandomCropConfig(min_area=0.5, max_aspect=1.3),
    color_jitter=ColorJitterConfig(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1),
)
FLIP = AugmentConfig(copies=1, horizontal_flip=1.0)


def variant(
    config: AugmentConfig = EVERYTHING, *, seed: int = 0, image_id: str = "a", copy: int = 1
) -> Image.Image:
    return augment(files.thumbnail(), config, seed=seed, image_id=image_id, copy=copy)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), image_id=st.text(max_size=8), copy=st.integers(1, 100))
def test_same_seed_id_and_copy_give_the_same_bytes(seed: int, image_id: str, copy: int) -> None:
    once = variant(seed=seed, image_id=image_id, copy=copy)
    again = variant(seed=seed, image_id=image_id, copy=copy)
    assert once.size == again.size
    assert once.tobytes() == again.tobytes()


@pytest.mark.parametrize("other", [{"seed": 1}, {"image_id": "b"}, {"copy": 2}])
def test_seed_id_and_copy_each_change_the_picture(other: dict[str, object]) -> None:
    assert variant().tobytes() != variant(**other).tobytes()  # type: ignore[arg-type]


def test_flip_mirrors() -> None:
    mirrored = ImageOps.mirror(files.thumbnail())
    assert variant(FLIP).tobytes() == mirrored.tobytes()


def test_flip_comes_as_often_as_declared() -> None:
    config = AugmentConfig(copies=1, horizontal_flip=0.25)
    original = files.thumbnail().tobytes()
    flips = sum(variant(config, image_id=str(index)).tobytes() != original for index in range(400))
    assert 70 <= flips <= 130


@settings(max_examples=60, deadline=None)
@given(
    image_id=st.text(max_size=5),
    width=st.integers(1, 80),
    height=st.integers(1, 80),
    min_area=st.floats(0.05, 1),
    max_aspect=st.floats(1, 4),
)
def test_crop_is_a_window_of_the_picture_of_at_least_the_declared_area(
    image_id: str, width: int, height: int, min_area: float, max_aspect: float
) -> None:
    places = np.arange(width * height, dtype=np.int64).reshape(height, width)
    image = Image.fromarray(np.stack([places % 251, places // 251], -1).astype(np.uint8), "LA")
    crop = RandomCropConfig(min_area=min_area, max_aspect=max_aspect)
    window = augment(image, AugmentConfig(copies=1, crop=crop), seed=0, image_id=image_id, copy=1)
    found = np.asarray(window).astype(np.int64)
    found = found[..., 0] + 251 * found[..., 1]
    top, left = divmod(int(found[0, 0]), width)
    assert np.array_equal(found, places[top : top + found.shape[0], left : left + found.shape[1]])
    # A stretched window may not fit a picture of another shape; else only rounding is lost.
    least = min_area / max_aspect * width * height
    assert found.size >= least - (width + height) / 2 - 1


def mean(image: Image.Image) -> Any:
    return np.asarray(image).astype(float).mean((0, 1))


def test_brightness_scales_every_channel_alike() -> None:
    config = AugmentConfig(copies=1, color_jitter=ColorJitterConfig(brightness=0.4))
    image = Image.new("RGB", (4, 4), (100, 50, 20))
    ratios = []
    for index in range(50):
        changed = augment(image, config, seed=0, image_id=str(index), copy=1)
        factor = mean(changed) / (100, 50, 20)
        assert factor.max() - factor.min() < 0.06
        ratios.append(factor[0])
    assert 0.6 <= min(ratios) < 0.7
    assert 1.3 < max(ratios) <= 1.4


def test_saturation_moves_towards_or_from_grey_and_keeps_the_luma() -> None:
    config = AugmentConfig(copies=1, color_jitter=ColorJitterConfig(saturation=1.0))
    image = Image.new("RGB", (4, 4), (150, 100, 80))
    changed = augment(image, config, seed=0, image_id="a", copy=1)
    assert changed.tobytes() != image.tobytes()
    assert abs(mean(changed.convert("L").convert("RGB"))[0] - mean(image.convert("L"))) <= 2


def test_hue_turns_the_colour_and_keeps_the_value() -> None:
    config = AugmentConfig(copies=1, color_jitter=ColorJitterConfig(hue=0.5))
    image = Image.new("RGB", (4, 4), (200, 40, 40))
    changed = augment(image, config, seed=0, image_id="b", copy=1)
    assert abs(mean(changed).max() - 200) <= 2
    assert mean(changed).argmax() != 0 or mean(changed)[1:].std() > 5


def test_grey_pictures_can_be_augmented() -> None:
    config = AugmentConfig(
        copies=1,
        horizontal_flip=0.5,
        crop=RandomCropConfig(),
        color_jitter=ColorJitterConfig(brightness=0.2, contrast=0.2),
    )
    grey = files.thumbnail().convert("L")
    assert augment(grey, config, seed=0, image_id="a", copy=1).mode == "L"
