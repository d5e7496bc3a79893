"""Floors on real digits, the word "biased", and pixel features."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from darkroom.errors import DataError
from darkroom.metrics.bootstrap import Interval
from darkroom.metrics.classifier import ReferenceClassifier
from darkroom.metrics.features import PixelFeatures, pixel_features
from darkroom.metrics.floor import frechet_floor
from darkroom.metrics.frechet import frechet_distance_of_rows
from darkroom.metrics.summary import MetricSummary, frechet_summary, is_biased


def test_the_floor_is_what_real_images_score(digits: Any) -> None:
    train = pixel_features(digits.train.images)
    test = pixel_features(digits.test.images)
    floor = frechet_floor(train, test, 500)
    assert floor.n == 500
    assert floor.num_draws == 10
    draw = frechet_distance_of_rows(train[:500], test)
    assert floor.value == pytest.approx(draw, rel=0.15)
    assert 0 < floor.spread < 0.1 * floor.value


def test_the_floor_rises_as_the_sample_shrinks(digits: Any) -> None:
    train = pixel_features(digits.train.images)
    test = pixel_features(digits.test.images)
    floors = [frechet_floor(train, test, n).value for n in (100, 300, 1000)]
    assert floors[0] > 1.5 * floors[1] > 1.5 * floors[2] > 0


def test_a_floor_beyond_the_training_set_says_what_it_stands_on(digits: Any) -> None:
    train = pixel_features(digits.train.images)
    test = pixel_features(digits.test.images)
    floor = frechet_floor(train, test, 10**6)
    assert (floor.n, floor.num_draws, floor.spread) == (len(train), 1, 0.0)
    assert floor.value == pytest.approx(frechet_distance_of_rows(train, test))


def test_a_floor_repeats_with_its_seed(digits: Any) -> None:
    train = pixel_features(digits.train.images)[:200]
    test = pixel_features(digits.test.images)[:100]
    first, again, other = (frechet_floor(train, test, 50, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


def test_damaged_images_score_above_the_floor_in_both_feature_spaces(
    digits: Any, classifier: ReferenceClassifier
) -> None:
    noise = torch.randint(0, 80, (500, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    damaged = (digits.train.images[:500].int() + noise).clamp(max=255).to(torch.uint8)
    for extract in (pixel_features, classifier.features):
        test = extract(digits.test.images)
        floor = frechet_floor(extract(digits.train.images), test, 500)
        assert frechet_distance_of_rows(extract(damaged), test) > 1.5 * floor.value


def test_pixels_are_flattened_between_zero_and_one() -> None:
    images = torch.tensor([0, 51, 255, 102], dtype=torch.uint8).reshape(1, 1, 2, 2)
    np.testing.assert_allclose(pixel_features(images), [[0.0, 0.2, 1.0, 0.4]])
    assert PixelFeatures().name == "pixels"
    np.testing.assert_array_equal(PixelFeatures()(images), pixel_features(images))


def test_images_too_large_for_pixel_covariances_are_refused() -> None:
    with pytest.raises(DataError, match=r"4096.*classifier"):
        pixel_features(torch.zeros(2, 3, 64, 64, dtype=torch.uint8))


def test_float_images_are_refused() -> None:
    with pytest.raises(ValueError, match="uint8"):
        pixel_features(torch.zeros(2, 1, 8, 8))


@pytest.mark.parametrize(
    ("n", "dim", "expected"),
    [(500, 64, True), (9_999, 64, True), (10_000, 64, False), (10_000, 1000, False),
     (10_000, 1001, True), (50_000, 2048, False)],
)  # fmt: skip
def test_small_samples_are_called_biased(n: int, dim: int, expected: bool) -> None:
    assert is_biased(n, dim) is expected


def test_a_summary_carries_all_that_is_needed_to_read_it() -> None:
    summary = frechet_summary(0.6, n=500, dim=64, interval=Interval(0.5, 0.7), floor=0.5)
    assert summary.biased
    assert "biased: 500 images" in summary.note
    values = json.loads(json.dumps(summary.to_dict()))
    assert values["interval"] == {"low": 0.5, "high": 0.7, "level": 0.95}
    assert values["over_floor"] == pytest.approx(1.2)


def test_an_unbiased_figure_carries_no_warning() -> None:
    summary = frechet_summary(2.0, n=50_000, dim=2048, interval=None, floor=None)
    assert (summary.biased, summary.note, summary.over_floor) == (False, "", None)
    assert MetricSummary(0.9, 10).to_dict()["over_floor"] is None
