"""Nearest neighbours and the memorisation verdict, on real digits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from darkroom.errors import DataError
from darkroom.metrics import features
from darkroom.metrics.neighbours import (
    Memorisation,
    memorisation,
    nearest_neighbour_distances,
)

Grey = NDArray[np.uint8]


def judge(generated: Grey, digits: Any, *, test: Grey | None = None) -> Memorisation:
    train = digits.train.grey
    test = digits.test.grey if test is None else test
    return memorisation(
        nearest_neighbour_distances(generated, train), nearest_neighbour_distances(test, train)
    )


def with_noise(rows: Grey, grey_levels: int) -> Grey:
    noise = np.random.default_rng(0).integers(-grey_levels, grey_levels + 1, rows.shape)
    return (rows.astype(int) + noise).clip(0, 255).astype(np.uint8)


def test_distances_equal_the_definition() -> None:
    a, b = np.random.default_rng(0).integers(0, 256, (2, 40, 60), dtype=np.uint8)
    a = a[:30]
    pairs = np.linalg.norm(a[:, None].astype(float) - b[None].astype(float), axis=2) / 255
    np.testing.assert_allclose(nearest_neighbour_distances(a, b), pairs.min(axis=1))


def test_blocks_do_not_change_the_distances(digits: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    test, train = digits.test.grey, digits.train.grey
    whole = nearest_neighbour_distances(test, train)
    monkeypatch.setattr(features, "BLOCK_ROWS", 7)
    np.testing.assert_array_equal(nearest_neighbour_distances(test, train), whole)


def test_a_copy_is_at_distance_exactly_zero_and_nothing_else_is(digits: Any) -> None:
    train = digits.train.grey
    nearly = train.copy()
    nearly[:, 0] ^= 1  # one pixel, by one grey level
    assert not nearest_neighbour_distances(train, train).any()
    np.testing.assert_allclose(nearest_neighbour_distances(nearly, train), 1 / 255)


def test_real_held_out_images_are_not_flagged(digits: Any) -> None:
    test = digits.test.grey
    verdict = judge(test[::2], digits, test=test[1::2])
    assert verdict.decided
    assert not verdict.memorising
    assert 0.9 < verdict.figures.median_ratio < 1.1
    assert "as far from" in verdict.reason


def test_no_split_of_real_digits_is_flagged(split_digits: Any) -> None:
    for seed in range(20):
        digits = split_digits(seed)
        half = len(digits.test.grey) // 2
        test = digits.test.grey
        assert not judge(test[:half], digits, test=test[half:]).memorising, seed


def test_an_honest_sampler_is_not_flagged(digits: Any) -> None:
    # Blends of two training images of a class: new pictures, made of the training set.
    rows, labels = digits.train.grey.astype(float), digits.train.labels.numpy()
    order = np.argsort(labels * 10_000 + np.random.default_rng(0).permutation(len(labels)))
    blends = ((rows[order][:-1] + rows[order][1:]) / 2)[::2].round().astype(np.uint8)
    verdict = judge(blends, digits)
    assert not verdict.memorising, verdict.reason


@pytest.mark.parametrize("grey_levels", [0, 1, 2, 10])
def test_returned_training_images_are_flagged(digits: Any, grey_levels: int) -> None:
    verdict = judge(with_noise(digits.train.grey[:500], grey_levels), digits)
    assert verdict.memorising
    assert verdict.figures.near_share == 1.0
    assert ("exact" in verdict.reason) == (grey_levels == 0)
    assert verdict.figures.copies_share == (1.0 if grey_levels == 0 else 0.0)


@pytest.mark.parametrize("grey_levels", [0, 2])
def test_a_tenth_of_copies_among_honest_images_is_flagged(digits: Any, grey_levels: int) -> None:
    honest = digits.test.grey[:180]
    copies = with_noise(digits.train.grey[:20], grey_levels)
    verdict = judge(np.concatenate([honest, copies]), digits, test=digits.test.grey[180:])
    assert verdict.memorising
    assert "exact" in verdict.reason or "nearer" in verdict.reason


def test_real_splits_that_overlap_do_not_accuse_the_model() -> None:
    # A tenth of the held-out images stand in the training set too, and of the generated ones.
    distances = np.linspace(0.5, 2.0, 200)
    distances[::10] = 0.0
    verdict = memorisation(distances, distances)
    assert not verdict.memorising, verdict.reason
    assert verdict.figures.test_copies_share == verdict.figures.copies_share == 0.1
    assert verdict.figures.median_ratio == 1.0


def test_more_copies_than_the_real_splits_share_are_flagged() -> None:
    test = np.linspace(0.5, 2.0, 200)
    test[::20] = 0.0
    generated = test.copy()
    generated[::10] = 0.0
    verdict = memorisation(generated, test)
    assert verdict.memorising
    assert verdict.reason == "10.0% of the images are exact training images"


def test_a_set_that_is_near_as_a_whole_is_flagged_by_its_median() -> None:
    # No single image is nearer than the nearest held-out ones are.
    test = np.concatenate([np.full(20, 0.1), np.linspace(1.0, 2.0, 180)])
    verdict = memorisation(np.linspace(0.2, 0.9, 200), test)
    assert verdict.memorising
    assert verdict.figures.near_share == 0.0
    assert "median distance" in verdict.reason


def test_too_few_images_decide_nothing(digits: Any) -> None:
    verdict = judge(digits.train.grey[:10], digits)
    assert not verdict.decided
    assert not verdict.memorising
    assert "not decided" in verdict.reason


def test_an_empty_side_is_refused(digits: Any) -> None:
    with pytest.raises(DataError, match="generated and held-out"):
        memorisation(np.empty(0), np.ones(5))
    with pytest.raises(DataError, match="neither empty"):
        nearest_neighbour_distances(digits.test.grey, digits.train.grey[:0])


def test_images_of_another_size_are_refused() -> None:
    small, large = np.zeros((2, 64), np.uint8), np.zeros((2, 81), np.uint8)
    with pytest.raises(DataError, match="one image size"):
        nearest_neighbour_distances(small, large)
