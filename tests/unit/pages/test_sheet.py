"""Contact sheets keep the pictures' pixels and leave room for the labels."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from darkroom.pages.sheet import (
    SheetRow,
    as_picture,
    contact_sheet,
    enlarge,
    grey_levels,
    png_bytes,
    tile,
)


def picture(level: int, size: int = 8) -> NDArray[np.uint8]:
    return np.full((size, size), level, dtype=np.uint8)


@pytest.mark.parametrize(("size", "enlarged"), [(8, 56), (28, 56), (32, 64), (64, 64), (256, 256)])
def test_small_pictures_grow_by_whole_factors(size: int, enlarged: int) -> None:
    assert enlarge(picture(3, size)).size == (enlarged, enlarged)


def test_enlarging_repeats_pixels_and_invents_none() -> None:
    image = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    grown = np.asarray(enlarge(image).convert("L"))
    assert np.array_equal(grown[::7, ::7], image)
    assert set(np.unique(grown)) == set(np.unique(image))


def test_tiles_stand_in_rows_with_clear_gaps() -> None:
    sheet = tile([picture(level) for level in (10, 20, 30)], num_columns=2, min_pixels=8, gap=2)
    assert sheet.size == (18, 18)
    assert sheet.getpixel((0, 0)) == (10, 10, 10, 255)
    assert sheet.getpixel((10, 0)) == (20, 20, 20, 255)
    assert sheet.getpixel((0, 10)) == (30, 30, 30, 255)
    assert sheet.getpixel((8, 0)) == (0, 0, 0, 0)
    assert sheet.getpixel((10, 10)) == (0, 0, 0, 0)


def test_colour_pictures_keep_their_colour() -> None:
    red = np.zeros((4, 4, 3), dtype=np.uint8)
    red[..., 0] = 255
    assert tile([red], num_columns=1).getpixel((0, 0)) == (255, 0, 0, 255)


def test_a_long_label_and_a_wide_heading_widen_the_sheet() -> None:
    rows = [SheetRow("7", [picture(0), picture(0)])]
    narrow = contact_sheet(rows).width
    assert contact_sheet([SheetRow("a much longer name", rows[0].images)]).width > narrow + 80
    assert contact_sheet(rows, column_labels=["t = 100000000", "picture"]).width > narrow
    assert contact_sheet(rows, title="a title wider than two small pictures").width > narrow


def test_values_become_grey_levels_and_what_lies_outside_is_clamped() -> None:
    levels = grey_levels(np.array([-7.0, -1.0, 0.0, 1.0, 7.0], dtype=np.float32))
    assert levels.tolist() == [0, 0, 128, 255, 255]
    everything = np.arange(256)
    assert np.array_equal(grey_levels(everything / 127.5 - 1), everything)


def test_channels_move_to_the_end_and_a_single_one_goes() -> None:
    assert as_picture(np.zeros((1, 4, 6), dtype=np.uint8)).shape == (4, 6)
    assert as_picture(np.zeros((3, 4, 6), dtype=np.uint8)).shape == (4, 6, 3)


def test_png_round_trips_an_array() -> None:
    image = np.arange(64, dtype=np.uint8).reshape(8, 8)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png_bytes(image)))), image)
