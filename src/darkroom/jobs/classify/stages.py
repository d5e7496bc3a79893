"""The stages of `classify`: read, decode, model. One piece's table in, one out.

    rows -> read: encoded bytes -> decode: uint8 pixels of one size -> model: labels

Encoded bytes end with decoding and pixels with the model; pixels stay uint8 until they are on
the model's device. The first two import no torch.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from darkroom.config import build_config
from darkroom.jobs.batch.picture_rows import PictureOrigin
from darkroom.jobs.batch.stage import ID, Stage
from darkroom.jobs.classify.config import ClassifyConfig
from darkroom.jobs.classify.source import PictureReader, open_reader
from darkroom.jobs.classify.transform import transform
from darkroom.jobs.pictures.decode import decode, keep_memory
from darkroom.jobs.rejects import Reject, Rejects
from darkroom.models.classifier import Preprocess

Pixels = NDArray[np.uint8]

KEPT = (ID, "path", "expected")
"""Columns that travel from the listing to the output."""


def reading_and_decoding(
    config: ClassifyConfig, origin: PictureOrigin, preprocess: Preprocess
) -> list[Stage]:
    """The stages before the model."""
    values = config.to_dict()
    return [
        Stage.of(config.readers, name="read", make=partial(Read, values, origin)),
        Stage.of(config.decoders, name="decode", make=partial(Decode, values, preprocess)),
    ]


class Read:
    """Rows of the listing to rows with their encoded bytes."""

    def __init__(self, config_values: dict[str, Any], origin: PictureOrigin) -> None:
        config = build_config(ClassifyConfig, config_values)
        self._reader: PictureReader = open_reader(config, origin)

    def __call__(self, rows: pa.Table, rejects: Rejects) -> pa.Table:
        data = self._reader.read(rows, rejects)
        there = [index for index, content in enumerate(data) if content is not None]
        kept = rows.select(KEPT)
        if len(there) < len(data):
            kept = kept.take(pa.array(there, pa.int64()))
        encoded = pa.array([data[index] for index in there], pa.large_binary())
        return kept.append_column("encoded", encoded)


class Decode:
    """Encoded bytes to the pixels that the model wants; bad pictures are rejected."""

    def __init__(self, config_values: dict[str, Any], preprocess: Preprocess) -> None:
        keep_memory()
        self._config = build_config(ClassifyConfig, config_values)
        self._preprocess = preprocess

    def __call__(self, rows: pa.Table, rejects: Rejects) -> pa.Table:
        height, width = self._preprocess.crop
        pixels = np.empty((len(rows), height, width, 3), np.uint8)
        there: list[int] = []
        for index, data in enumerate(rows["encoded"]):
            picture = decode(
                data.as_py(),
                row_id=rows[ID][index].as_py(),
                channels=3,
                background=self._config.background,
                limits=self._config.limits,
            )
            if isinstance(picture, Reject):
                rejects.found.append(picture)
                continue
            pixels[len(there)] = transform(picture.image, self._preprocess)
            there.append(index)
        kept = rows.select(KEPT)
        if len(there) < len(rows):
            kept = kept.take(pa.array(there, pa.int64()))
        return kept.append_column("pixels", pixel_column(pixels[: len(there)]))


def pixel_column(pixels_NHWC: Pixels) -> pa.Array:
    """Pictures of one size as an Arrow column, without a copy."""
    count, size = len(pixels_NHWC), int(np.prod(pixels_NHWC.shape[1:]))
    content = pa.py_buffer(np.ascontiguousarray(pixels_NHWC))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(size), count, [None, content])


def column_pixels(column: pa.ChunkedArray, size: tuple[int, int]) -> Pixels:
    """N x H x W x 3 of such a column, sharing its memory where it is in one piece; read-only."""
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks)
    height, width = size
    flat = np.frombuffer(array.buffers()[1], np.uint8)
    start = array.offset * height * width * 3
    stop = start + len(array) * height * width * 3
    return flat[start:stop].reshape(len(array), height, width, 3)
