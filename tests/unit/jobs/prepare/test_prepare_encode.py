"""Stored size and stored bytes."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from tests.helpers import pictures as files

from darkroom.jobs.pictures.config import EncodingConfig
from darkroom.jobs.pictures.decode import sniff
from darkroom.jobs.pictures.encode import encode
from darkroom.jobs.pictures.resize import Fit, resize


def resized(image: Image.Image, size: tuple[int, int], fit: Fit = "crop") -> Image.Image:
    return resize(image, size, fit=fit, resample="bicubic", background=9)


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("size", [(8, 8), (5, 9), (100, 3), (96, 128)])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_size_is_height_then_width(mode: str, size: tuple[int, int], fit: Fit) -> None:
    image = resized(files.thumbnail().convert(mode), size, fit)
    assert (image.height, image.width) == size
    assert image.mode == mode


def test_picture_of_the_right_size_is_not_touched() -> None:
    image = files.thumbnail()
    assert resized(image, (48, 64)) is image


def bands() -> Image.Image:
    """Three square bands side by side: red, green, blue."""
    image = Image.new("RGB", (90, 30), (255, 0, 0))
    image.paste((0, 255, 0), (30, 0, 60, 30))
    image.paste((0, 0, 255), (60, 0, 90, 30))
    return image


def test_crop_keeps_the_centre() -> None:
    assert np.asarray(resized(bands(), (10, 10)))[5, 5].tolist() == [0, 255, 0]
    assert np.asarray(resized(bands(), (10, 10)))[5, 2].tolist() == [0, 255, 0]


def test_pad_keeps_everything_on_the_background() -> None:
    pixels = np.asarray(resized(bands(), (30, 30), "pad"))
    assert pixels[0, 15].tolist() == [9, 9, 9]
    assert pixels[15, 2].tolist() == [255, 0, 0]
    assert pixels[15, 28].tolist() == [0, 0, 255]


def test_stretch_keeps_everything_without_background() -> None:
    pixels = np.asarray(resized(bands(), (30, 30), "stretch"))
    assert pixels[0, 2].tolist() == [255, 0, 0]
    assert pixels[29, 28].tolist() == [0, 0, 255]


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
def test_format_is_what_was_asked(kind: str) -> None:
    config = EncodingConfig(format=kind)  # type: ignore[arg-type]
    assert sniff(encode(files.thumbnail(), config, own_format="png")) == kind


def test_keep_falls_back_on_the_files_own_format() -> None:
    assert sniff(encode(files.thumbnail(), EncodingConfig(), own_format="webp")) == "webp"
    grey = files.thumbnail().convert("L")
    stored = encode(grey, EncodingConfig(), own_format="webp")
    assert sniff(stored) == "png"  # WebP would turn it into RGB
    assert np.array_equal(files.decoded(stored), np.asarray(grey))


@pytest.mark.parametrize(
    "config",
    [EncodingConfig(format="png"), EncodingConfig(format="webp", lossless=True)],
    ids=["png", "lossless-webp"],
)
def test_lossless_formats_lose_nothing(config: EncodingConfig) -> None:
    stored = encode(files.thumbnail(), config, own_format="jpeg")
    assert np.array_equal(files.decoded(stored), np.asarray(files.thumbnail()))


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_quality_costs_bytes_and_gains_likeness(kind: str) -> None:
    def at(quality: int) -> tuple[int, float]:
        config = EncodingConfig(format=kind, quality=quality)  # type: ignore[arg-type]
        stored = encode(files.thumbnail(), config, own_format="png")
        error = files.decoded(stored).astype(int) - np.asarray(files.thumbnail())
        return len(stored), float(np.abs(error).mean())

    (small, blurred), (large, clear) = at(20), at(95)
    assert small < large
    assert clear < blurred
    assert clear < 4
