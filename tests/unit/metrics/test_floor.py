"""Floors on real digits, and the word "biased"."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from darkroom.metrics.classifier import ReferenceClassifier
from darkroom.metrics.floor import frechet_floor
from darkroom.metrics.frechet import frechet_distance_of_rows, is_biased


def test_the_floor_is_what_real_images_score(digits: Any) -> None:
    train = digits.train.pixels
    test = digits.test.pixels
    floor = frechet_floor(train, test, 500)
    assert floor.n == 500
    assert floor.num_draws == 10
    draw = frechet_distance_of_rows(train[:500], test)
    assert floor.value == pytest.approx(draw, rel=0.15)
    assert 0 < floor.spread < 0.1 * floor.value


def test_the_floor_rises_as_the_sample_shrinks(digits: Any) -> None:
    train = digits.train.pixels
    test = digits.test.pixels
    floors = [frechet_floor(train, test, n).value for n in (100, 300, 1000)]
    assert floors[0] > 1.5 * floors[1] > 1.5 * floors[2] > 0


def test_a_floor_beyond_the_training_set_says_what_it_stands_on(digits: Any) -> None:
    train = digits.train.pixels
    test = digits.test.pixels
    floor = frechet_floor(train, test, 10**6)
    assert (floor.n, floor.num_draws, floor.spread) == (len(train), 1, 0.0)
    assert floor.value == pytest.approx(frechet_distance_of_rows(train, test))


def test_a_floor_repeats_with_its_seed(digits: Any) -> None:
    train = digits.train.pixels[:200]
    test = digits.test.pixels[:100]
    first, again, other = (frechet_floor(train, test, 50, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


def test_damaged_images_score_above_the_floor_in_both_feature_spaces(
    digits: Any, classifier: ReferenceClassifier
) -> None:
    noise = torch.randint(0, 80, (500, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    damaged = (digits.train.images[:500].int() + noise).clamp(max=255).to(torch.uint8)

    def pixels(images: Tensor) -> NDArray[np.float64]:
        return images.flatten(1).numpy() / 255.0

    def features(images: Tensor) -> NDArray[np.float64]:
        return classifier(images)[0].double().numpy()

    for extract in (pixels, features):
        test = extract(digits.test.images)
        floor = frechet_floor(extract(digits.train.images), test, 500)
        assert frechet_distance_of_rows(extract(damaged), test) > 1.5 * floor.value


@pytest.mark.parametrize(
    ("n", "dim", "expected"),
    [(500, 64, True), (9_999, 64, True), (10_000, 64, False), (10_000, 1000, False),
     (10_000, 1001, True), (50_000, 2048, False)],
)  # fmt: skip
def test_small_samples_are_called_biased(n: int, dim: int, expected: bool) -> None:
    assert is_biased(n, dim) is expected
