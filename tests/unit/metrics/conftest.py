"""Real digits, split as the recipes split them, and one classifier trained on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import settings
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor

from darkroom.metrics.classifier import (
    ReferenceClassifier,
    network_input,
    train_reference_classifier,
)

# A slow machine is no fault of the property.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


@dataclass(frozen=True)
class Split:
    images: Tensor
    """uint8 (N, 1, 8, 8)"""
    labels: Tensor

    @property
    def grey(self) -> NDArray[np.uint8]:
        """Grey levels as rows (N, 64)."""
        return self.images.flatten(1).numpy()

    @property
    def pixels(self) -> NDArray[np.float64]:
        """The same in [0, 1]."""
        return self.grey / 255.0


@dataclass(frozen=True)
class Digits:
    train: Split
    test: Split


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """The tensors here are tiny: threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="package")
def split_digits() -> Callable[[int], Digits]:
    """Digits with 20 % held out for testing and 5 % for validation, by the seed given."""
    source = load_digits()
    images = torch.from_numpy(np.round(source.images / 16 * 255).astype(np.uint8))[:, None]
    labels = torch.from_numpy(source.target.astype(np.int64))

    def split(seed: int) -> Digits:
        rows = np.arange(len(images))
        rest, test = train_test_split(
            rows, test_size=0.2, stratify=source.target, random_state=seed
        )
        train, _ = train_test_split(
            rest, test_size=0.0625, stratify=source.target[rest], random_state=seed
        )
        return Digits(Split(images[train], labels[train]), Split(images[test], labels[test]))

    return split


@pytest.fixture(scope="package")
def digits(split_digits: Callable[[int], Digits]) -> Digits:
    return split_digits(0)


@pytest.fixture(scope="package")
def classifier(digits: Digits) -> ReferenceClassifier:
    return train_reference_classifier(network_input(digits.train.images), digits.train.labels, 10)
