"""What a Frechet distance compares images by: their pixels, or a classifier's features.

A feature extractor has a name, a digest (what a figure stands on), and maps uint8 images
(N, C, H, W) to float64 rows (N, D). Figures of different extractors, digests or image sizes
must not be compared.

Assumes decoded images of one size; leaves batching to the caller.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from darkroom.errors import DataError
from darkroom.metrics.classifier import ReferenceClassifier

MAX_PIXEL_DIM = 4096
"""64x64 grey, 36x36 colour: beyond, covariances of raw pixels cost minutes and mean little."""


class FeatureExtractor(Protocol):
    """Maps uint8 images (N, C, H, W) to float64 rows (N, D)."""

    @property
    def name(self) -> str: ...

    @property
    def digest(self) -> str: ...

    def __call__(self, images: Tensor) -> NDArray[np.float64]: ...


class PixelFeatures:
    """Raw pixels, flattened, in [0, 1]."""

    name = "pixels"
    digest = "pixels-0-1"

    def __call__(self, images: Tensor) -> NDArray[np.float64]:
        """(N, C*H*W) in [0, 1]. Errors: DataError above MAX_PIXEL_DIM."""
        return pixel_features(images)


class ClassifierFeatures:
    """The penultimate layer of a reference classifier."""

    name = "classifier"

    def __init__(self, classifier: ReferenceClassifier) -> None:
        self._classifier = classifier

    @property
    def digest(self) -> str:
        """The classifier's."""
        return self._classifier.digest

    def __call__(self, images: Tensor) -> NDArray[np.float64]:
        """(N, FEATURE_DIM)."""
        return self._classifier.features(images)


def pixel_features(images: Tensor) -> NDArray[np.float64]:
    """uint8 images (N, C, H, W) flattened to (N, C*H*W) in [0, 1].

    Errors: DataError for images of more than MAX_PIXEL_DIM values.
    """
    rows = flat_pixels(images)
    if rows.shape[1] > MAX_PIXEL_DIM:
        raise DataError(
            "image size", tuple(images.shape[1:]),
            f"has over {MAX_PIXEL_DIM} values, too many for a Frechet distance on pixels",
            "use the classifier's features",
        )  # fmt: skip
    return rows / 255.0


def flat_pixels(images: Tensor) -> NDArray[np.float64]:
    """uint8 images (N, C, H, W) as rows of grey levels (N, C*H*W) in float64."""
    if str(images.dtype) != "torch.uint8" or images.ndim != 4:
        raise ValueError(f"images: want uint8 (N, C, H, W), got {images.dtype} {images.shape}")
    rows: NDArray[np.float64] = images.flatten(1).double().cpu().numpy()
    return rows
