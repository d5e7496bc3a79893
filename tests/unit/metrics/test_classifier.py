"""The reference classifier on real digits: accurate, repeatable, and honest in its figures."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch

from darkroom.errors import DataError
from darkroom.metrics.classifier import (
    FEATURE_DIM,
    ReferenceClassifier,
    confusion_matrix,
    per_class_accuracy,
    train_reference_classifier,
    weights_digest,
)
from darkroom.metrics.features import ClassifierFeatures


def blobs(count: int, channels: int, height: int, width: int, *, seed: int = 0) -> Any:
    """Images of two classes, dark and bright."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    values = (
        random.integers(0, 100, size=(count, channels, height, width))
        + 120 * labels[:, None, None, None]
    )
    return torch.from_numpy(values.astype(np.uint8)), torch.from_numpy(labels)


def test_it_knows_real_digits(classifier: ReferenceClassifier, digits: Any) -> None:
    right = classifier.predict(digits.test.images) == digits.test.labels
    assert right.double().mean().item() >= 0.985


def test_shuffled_labels_score_near_chance(classifier: ReferenceClassifier, digits: Any) -> None:
    order = torch.randperm(len(digits.test.labels), generator=torch.Generator().manual_seed(0))
    right = classifier.predict(digits.test.images) == digits.test.labels[order]
    assert right.double().mean().item() < 0.2


def test_training_is_repeatable_and_leaves_the_callers_state_alone() -> None:
    images, labels = blobs(100, 1, 8, 8)
    torch.manual_seed(3)
    untouched = torch.rand(2)
    torch.manual_seed(3)
    threads = torch.get_num_threads()
    first = train_reference_classifier(images, labels, 2, seed=5, num_steps=20)
    assert torch.equal(torch.rand(2), untouched)
    assert torch.get_num_threads() == threads
    torch.manual_seed(4)
    torch.set_num_threads(threads + 1)
    second = train_reference_classifier(images, labels, 2, seed=5, num_steps=20)
    torch.set_num_threads(threads)
    other = train_reference_classifier(images, labels, 2, seed=6, num_steps=20)
    assert first.digest == second.digest
    assert first.digest != other.digest


def test_the_digest_is_of_the_weights(classifier: ReferenceClassifier) -> None:
    assert weights_digest(classifier.network) == classifier.digest
    copy = pickle.loads(pickle.dumps(classifier))  # noqa: S301 - our own bytes
    assert weights_digest(copy.network) == classifier.digest
    with torch.no_grad():
        copy.network.head.bias[0] += 1e-3
    assert weights_digest(copy.network) != classifier.digest


@pytest.mark.parametrize(("channels", "height", "width"), [(1, 8, 8), (3, 9, 14), (1, 28, 28),
                                                           (3, 70, 50)])  # fmt: skip
def test_it_takes_any_image_size_and_one_or_three_channels(
    channels: int, height: int, width: int
) -> None:
    images, labels = blobs(32, channels, height, width)
    classifier = train_reference_classifier(images, labels, 2, num_steps=15)
    assert classifier.logits(images).shape == (32, 2)
    unseen, expected = blobs(40, channels, height, width, seed=1)
    assert (classifier.predict(unseen) == expected).double().mean().item() > 0.95


def test_an_image_is_judged_alone(classifier: ReferenceClassifier, digits: Any) -> None:
    images = digits.test.images[:20]
    together = classifier.logits(images)
    alone = torch.cat([classifier.logits(image[None]) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


def test_features_are_the_layer_before_the_logits(
    classifier: ReferenceClassifier, digits: Any
) -> None:
    images = digits.test.images[:8]
    features = ClassifierFeatures(classifier)
    rows = features(images)
    assert rows.shape == (8, FEATURE_DIM)
    assert rows.dtype == np.float64
    assert features.digest == classifier.digest
    head = classifier.network.get_submodule("head")
    with torch.inference_mode():
        logits = head(torch.from_numpy(rows).float())
    torch.testing.assert_close(logits, classifier.logits(images), rtol=1e-4, atol=1e-4)


def test_the_confusion_counts_label_against_prediction(
    classifier: ReferenceClassifier, digits: Any
) -> None:
    labels = digits.test.labels.clone()
    labels[labels == 3] = 5  # every 3 is now asked for as a 5
    predicted = classifier.predict(digits.test.images)
    confusion = confusion_matrix(labels, predicted, classifier.num_classes)
    assert confusion.sum() == len(labels)
    assert confusion[3].sum() == 0
    assert confusion[5, 3] >= 30
    accuracies = per_class_accuracy(confusion)
    assert accuracies[3] is None
    assert accuracies[5] == pytest.approx(confusion[5, 5] / confusion[5].sum())
    assert accuracies[0] is not None
    assert accuracies[0] > 0.9


def test_images_below_eight_pixels_are_refused() -> None:
    images, labels = blobs(10, 1, 8, 7)
    with pytest.raises(DataError, match=r"8x7.*needs 8x8"):
        train_reference_classifier(images, labels, 2)


def test_a_single_class_is_refused() -> None:
    images, _ = blobs(10, 1, 8, 8)
    with pytest.raises(DataError, match="at least 2 classes"):
        train_reference_classifier(images, torch.zeros(10, dtype=torch.int64), 2)


def test_a_label_beyond_the_classes_is_refused() -> None:
    images, labels = blobs(10, 1, 8, 8)
    with pytest.raises(DataError, match=r"0 \.\. 1"):
        train_reference_classifier(images, labels + 1, 2)


def test_images_that_are_not_uint8_are_refused() -> None:
    images, labels = blobs(10, 1, 8, 8)
    with pytest.raises(ValueError, match="uint8"):
        train_reference_classifier(images.float(), labels, 2)
