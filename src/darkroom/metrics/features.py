"""Feature rows as metrics take them: (N, D), in any type and from any place, read by blocks.

What features are is decided where pictures are measured. Here they are rows of numbers: an array,
or `ScaledRows` over one that stays as it is stored (uint8, float32, mapped from a file). Rows
of different extractors, digests or image sizes must not be compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from darkroom.errors import DataError

Array = NDArray[np.float64]

MAX_PIXEL_DIM = 4096
"""64x64 grey, 36x36 colour: beyond, covariances of raw pixels cost minutes and mean little."""
MIN_CLASSIFIER_SIDE = 8
"""Least side of images that the reference classifier takes."""
MIN_LPIPS_SIDE: Mapping[str, int] = {"alex": 31, "vgg": 16, "squeeze": 17}
"""By network of LPIPS: of smaller images nothing is left at its last layer."""
BLOCK_ROWS = 1024
"""Rows that are float64 at once; a block of kernels between two such is at most 8 MiB."""


class FeatureRows(Protocol):
    """(N, D) numbers of which slices and selections can be taken: an array, or as one."""

    @property
    def shape(self) -> tuple[Any, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> NDArray[Any]: ...


@dataclass(frozen=True, eq=False)
class ScaledRows:
    """Rows that are stored as other numbers, `divisor` times as large."""

    stored: NDArray[Any]
    """(N, D), in memory or mapped."""
    divisor: float = 1.0

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, D)"""
        return self.stored.shape

    def __len__(self) -> int:
        return len(self.stored)

    def __getitem__(self, index: Any, /) -> Array:
        return np.asarray(self.stored[index], dtype=np.float64) / self.divisor


@dataclass(frozen=True, eq=False)
class MirroredRows:
    """Pictures as rows of pixels, each with left and right exchanged when it is taken."""

    rows: NDArray[Any]
    """(N, C H W), in memory or mapped."""
    chw: tuple[int, int, int]
    """Channels, height, width."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, C H W)"""
        return self.rows.shape

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> NDArray[Any]:
        taken = np.asarray(self.rows[index])
        return taken.reshape(-1, *self.chw)[..., ::-1].reshape(taken.shape)


def blocks(rows: FeatureRows, index: NDArray[np.int64] | None = None) -> Iterator[Array]:
    """The rows, or those at `index`, in order and a block at a time, as float64."""
    count = len(rows) if index is None else len(index)
    for start in range(0, count, BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        yield np.asarray(rows[block if index is None else index[block]], np.float64)


def feature_rows(features: ArrayLike | FeatureRows) -> Array:
    """Feature vectors as float64 (N, D). Errors: DataError where one is not finite."""
    taken = features[:] if isinstance(features, ScaledRows) else features
    rows = np.asarray(taken, dtype=np.float64)
    if rows.ndim != 2:
        raise ValueError(f"features: want (N, D), got {rows.shape}")
    if not np.isfinite(rows).all():
        raise DataError("features", None, "contain NaN or infinity", "check the images")
    return rows
