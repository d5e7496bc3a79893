"""Nearest neighbours and the memorisation verdict, on real digits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from darkroom.errors import DataError
from darkroom.metrics import neighbours
from darkroom.metrics.neighbours import (
    Memorisation,
    memorisation,
    nearest_neighbour_distances,
)


def judge(generated: Tensor, digits: Any, *, test: Tensor | None = None) -> Memorisation:
    train = digits.train.images
    test = digits.test.images if test is None else test
    return memorisation(
        nearest_neighbour_distances(generated, train), nearest_neighbour_distances(test, train)
    )


def with_noise(images: Tensor, grey_levels: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(-grey_levels, grey_levels + 1, images.shape, generator=generator)
    return (images.int() + noise).clamp(0, 255).to(torch.uint8)


def test_distances_equal_the_definition() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randint(0, 256, (2, 40, 3, 5, 4), generator=generator).to(torch.uint8)
    a = a[:30]
    pairs = (a[:, None].double() - b[None].double()).flatten(2).norm(dim=2) / 255
    np.testing.assert_allclose(nearest_neighbour_distances(a, b), pairs.min(dim=1).values)


def test_chunks_do_not_change_the_distances(digits: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    test, train = digits.test.images, digits.train.images
    whole = nearest_neighbour_distances(test, train)
    monkeypatch.setattr(neighbours, "_CHUNK_VALUES", 7 * len(train))
    np.testing.assert_array_equal(nearest_neighbour_distances(test, train), whole)


def test_a_copy_is_at_distance_exactly_zero_and_nothing_else_is(digits: Any) -> None:
    train = digits.train.images
    nearly = train.clone()
    nearly[:, 0, 0, 0] ^= 1  # one pixel, by one grey level
    assert not nearest_neighbour_distances(train, train).any()
    np.testing.assert_allclose(nearest_neighbour_distances(nearly, train), 1 / 255)


def test_real_held_out_images_are_not_flagged(digits: Any) -> None:
    test = digits.test.images
    verdict = judge(test[::2], digits, test=test[1::2])
    assert verdict.decided
    assert not verdict.memorising
    assert 0.9 < verdict.figures.median_ratio < 1.1
    assert "as far from" in verdict.reason


def test_no_split_of_real_digits_is_flagged(split_digits: Any) -> None:
    for seed in range(20):
        digits = split_digits(seed)
        half = len(digits.test.images) // 2
        test = digits.test.images
        assert not judge(test[:half], digits, test=test[half:]).memorising, seed


def test_an_honest_sampler_is_not_flagged(digits: Any) -> None:
    # Blends of two training images of a class: new pictures, made of the training set.
    generator = torch.Generator().manual_seed(0)
    images, labels = digits.train.images.float(), digits.train.labels
    order = torch.argsort(labels * 10_000 + torch.randperm(len(labels), generator=generator))
    blends = ((images[order][:-1] + images[order][1:]) / 2)[::2].round().to(torch.uint8)
    verdict = judge(blends, digits)
    assert not verdict.memorising, verdict.reason


@pytest.mark.parametrize("grey_levels", [0, 1, 2, 10])
def test_returned_training_images_are_flagged(digits: Any, grey_levels: int) -> None:
    verdict = judge(with_noise(digits.train.images[:500], grey_levels), digits)
    assert verdict.memorising
    assert verdict.figures.near_share == 1.0
    assert ("exact" in verdict.reason) == (grey_levels == 0)
    assert verdict.figures.copies_share == (1.0 if grey_levels == 0 else 0.0)


@pytest.mark.parametrize("grey_levels", [0, 2])
def test_a_tenth_of_copies_among_honest_images_is_flagged(digits: Any, grey_levels: int) -> None:
    honest = digits.test.images[:180]
    copies = with_noise(digits.train.images[:20], grey_levels)
    verdict = judge(torch.cat([honest, copies]), digits, test=digits.test.images[180:])
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
    verdict = judge(digits.train.images[:10], digits)
    assert not verdict.decided
    assert not verdict.memorising
    assert "not decided" in verdict.reason


def test_an_empty_side_is_refused(digits: Any) -> None:
    with pytest.raises(DataError, match="generated and held-out"):
        memorisation(np.empty(0), np.ones(5))
    with pytest.raises(DataError, match="neither empty"):
        nearest_neighbour_distances(digits.test.images, digits.train.images[:0])


def test_images_of_another_size_are_refused() -> None:
    small, large = torch.zeros(2, 1, 8, 8).byte(), torch.zeros(2, 1, 9, 9).byte()
    with pytest.raises(DataError, match="one image size"):
        nearest_neighbour_distances(small, large)
