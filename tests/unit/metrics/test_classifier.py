"""The reference classifier on real digits: accurate, and repeatable to the byte."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from darkroom.errors import DataError
from darkroom.metrics.classifier import (
    FEATURE_DIM,
    ReferenceClassifier,
    load_reference_classifier,
    network_input,
    train_reference_classifier,
)


def blobs(count: int, channels: int, height: int, width: int, *, seed: int = 0) -> Any:
    """Images of two classes, dark and bright."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    values = (
        random.integers(0, 100, size=(count, channels, height, width))
        + 120 * labels[:, None, None, None]
    )
    return torch.from_numpy(values.astype(np.uint8)), torch.from_numpy(labels)


def predict(classifier: ReferenceClassifier, images: torch.Tensor) -> torch.Tensor:
    return classifier(images)[1].argmax(dim=1)


def test_it_knows_real_digits(classifier: ReferenceClassifier, digits: Any) -> None:
    right = predict(classifier, digits.test.images) == digits.test.labels
    assert right.double().mean().item() >= 0.985


def test_shuffled_labels_score_near_chance(classifier: ReferenceClassifier, digits: Any) -> None:
    order = torch.randperm(len(digits.test.labels), generator=torch.Generator().manual_seed(0))
    right = predict(classifier, digits.test.images) == digits.test.labels[order]
    assert right.double().mean().item() < 0.2


def test_training_is_repeatable_and_leaves_the_callers_state_alone() -> None:
    images, labels = blobs(100, 1, 8, 8)
    torch.manual_seed(3)
    untouched = torch.rand(2)
    torch.manual_seed(3)
    threads = torch.get_num_threads()
    first = train_reference_classifier(network_input(images), labels, 2, seed=5, num_steps=20)
    assert torch.equal(torch.rand(2), untouched)
    assert torch.get_num_threads() == threads
    torch.manual_seed(4)
    torch.set_num_threads(threads + 1)
    second = train_reference_classifier(network_input(images), labels, 2, seed=5, num_steps=20)
    torch.set_num_threads(threads)
    other = train_reference_classifier(network_input(images), labels, 2, seed=6, num_steps=20)
    assert first.to_bytes() == second.to_bytes()
    assert first.to_bytes() != other.to_bytes()


def test_it_is_the_same_after_a_way_through_bytes(
    classifier: ReferenceClassifier, digits: Any
) -> None:
    copy = load_reference_classifier(classifier.to_bytes())
    assert copy.to_bytes() == classifier.to_bytes()
    assert copy.num_classes == 10
    for mine, theirs in zip(copy(digits.test.images), classifier(digits.test.images), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize(("channels", "height", "width"), [(1, 8, 8), (3, 9, 14), (1, 28, 28),
                                                           (3, 70, 50)])  # fmt: skip
def test_it_takes_any_image_size_and_one_or_three_channels(
    channels: int, height: int, width: int
) -> None:
    images, labels = blobs(32, channels, height, width)
    classifier = train_reference_classifier(network_input(images), labels, 2, num_steps=15)
    assert classifier(images)[1].shape == (32, 2)
    unseen, expected = blobs(40, channels, height, width, seed=1)
    assert (predict(classifier, unseen) == expected).double().mean().item() > 0.95


def test_an_image_is_judged_alone(classifier: ReferenceClassifier, digits: Any) -> None:
    images = digits.test.images[:20]
    together = classifier(images)[1]
    alone = torch.cat([classifier(image[None])[1] for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


def test_features_are_the_layer_before_the_logits(
    classifier: ReferenceClassifier, digits: Any
) -> None:
    features, logits = classifier(digits.test.images[:8])
    assert features.shape == (8, FEATURE_DIM)
    with torch.inference_mode():
        assert torch.equal(classifier.network.get_submodule("head")(features), logits)


def test_images_below_eight_pixels_are_refused() -> None:
    images, _ = blobs(10, 1, 8, 7)
    with pytest.raises(DataError, match=r"8x7.*needs 8x8"):
        network_input(images)


def test_a_single_class_is_refused() -> None:
    images, _ = blobs(10, 1, 8, 8)
    with pytest.raises(DataError, match="at least 2 classes"):
        train_reference_classifier(network_input(images), torch.zeros(10, dtype=torch.int64), 2)


def test_a_label_beyond_the_classes_is_refused() -> None:
    images, labels = blobs(10, 1, 8, 8)
    with pytest.raises(DataError, match=r"0 \.\. 1"):
        train_reference_classifier(network_input(images), labels + 1, 2)


def test_images_that_are_not_uint8_are_refused() -> None:
    images, _ = blobs(10, 1, 8, 8)
    with pytest.raises(ValueError, match="uint8"):
        network_input(images.float())
