"""Buckets: the list is diffusers', nearest is by the logarithm, rows get their bucket's size."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.helpers import pictures
from tests.unit.jobs.prepare.test_prepare_rows import photo, processed

from darkroom.jobs.prepare.buckets import bucket_sizes, nearest_bucket
from darkroom.jobs.prepare.config import BucketsConfig

SIZES = bucket_sizes(BucketsConfig())
sides = st.integers(1, 5000)


@pytest.mark.parametrize("resolution", [64, 256, 512, 768, 1024])
@pytest.mark.parametrize("divisibility", [8, 16, 64])
def test_the_list_is_diffusers(resolution: int, divisibility: int) -> None:
    training_utils = pytest.importorskip("diffusers.training_utils")
    config = BucketsConfig(resolution=resolution, divisibility=divisibility)
    wanted = training_utils.generate_aspect_ratio_buckets(resolution, divisibility)
    assert list(bucket_sizes(config)) == wanted


def test_sizes_may_be_given() -> None:
    assert bucket_sizes(BucketsConfig(sizes=((64, 64), (64, 128)))) == ((64, 64), (64, 128))


@given(sides, sides)
def test_no_other_bucket_would_be_cropped_less(height: int, width: int) -> None:
    """Of the picture and the bucket, what the wider one has to lose, as a ratio."""

    def loss(size: tuple[int, int]) -> Fraction:
        ratio = Fraction(width, height) / Fraction(size[1], size[0])
        return max(ratio, 1 / ratio)

    found = nearest_bucket(height, width, SIZES)
    assert float(loss(found)) == pytest.approx(float(min(map(loss, SIZES))))


@given(sides, sides)
def test_tall_and_wide_are_treated_alike(height: int, width: int) -> None:
    mirrored = [(width, height) for height, width in SIZES]
    found = nearest_bucket(height, width, SIZES)
    assert nearest_bucket(width, height, mirrored) == found[::-1]


def test_the_nearest_by_difference_is_another() -> None:
    """1.41 lies nearer to 1 than to 2 by difference, and by its logarithm too; 1.45 does not."""
    sizes = [(10, 10), (10, 20)]
    assert nearest_bucket(100, 141, sizes) == (10, 10)
    assert nearest_bucket(100, 145, sizes) == (10, 20)
    assert math.log(1.45) > math.log(2) / 2


def test_rows_and_their_copies_get_the_size_of_their_bucket() -> None:
    items = [
        photo(name, pictures.encoded(pictures.thumbnail(size=size)))
        for name, size in (("wide", (96, 50)), ("tall", (50, 96)), ("square", (70, 64)))
    ]
    table = processed(
        items, buckets={"resolution": 32, "divisibility": 8},
        augment={"copies": 1, "crop": {"max_aspect": 4}},
    )  # fmt: skip
    rows = {row["id"]: row for row in table.to_pylist()}
    assert {name: (row["height"], row["width"]) for name, row in rows.items()} == {
        **dict.fromkeys(("wide", "wide~1"), (24, 48)),
        **dict.fromkeys(("tall", "tall~1"), (48, 24)),
        **dict.fromkeys(("square", "square~1"), (32, 32)),
    }
    for row in rows.values():
        assert pictures.decoded(row["image"]).shape == (row["height"], row["width"], 3)
