"""Files in MNIST's IDX format, written for tests."""

from __future__ import annotations

import gzip
import struct

import numpy as np


def idx_bytes(array: np.ndarray, *, zipped: bool = False) -> bytes:
    """A uint8 array as IDX bytes."""
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 0x08, array.ndim, *array.shape)
    data = head + np.ascontiguousarray(array, np.uint8).tobytes()
    return gzip.compress(data, 1) if zipped else data


def idx_pair(
    name: str, images: np.ndarray, labels: np.ndarray, *, zipped: bool = False
) -> dict[str, bytes]:
    """An image and a label file, under MNIST's names."""
    end = ".gz" if zipped else ""
    return {
        f"{name}-images-idx3-ubyte{end}": idx_bytes(images, zipped=zipped),
        f"{name}-labels-idx1-ubyte{end}": idx_bytes(labels, zipped=zipped),
    }
