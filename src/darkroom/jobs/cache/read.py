"""The first stage of `cache`: pixels to encode, or what an earlier cache has of the same inputs.

    rows -> picture and caption -> keys -> in the earlier cache? its bytes : pixels of the variant

Imports no torch. Pixels are uint8, RGB, of the size that the dataset stores the picture in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from darkroom.jobs.artifacts.latents import PICTURE_COLUMNS, TEXT_COLUMNS
from darkroom.jobs.artifacts.split_rows import SIZE_COLUMNS
from darkroom.jobs.batch.picture_rows import PictureOrigin, reader_of
from darkroom.jobs.batch.stage import ID, Stage
from darkroom.jobs.cache.keys import Encoding, picture_sha256, split_keys
from darkroom.jobs.pictures.augment import augment
from darkroom.jobs.pictures.config import TransformsConfig
from darkroom.jobs.pictures.decode import keep_memory, published_pixels
from darkroom.jobs.pictures.resize import resize
from darkroom.jobs.pictures.shape import ImageShape
from darkroom.jobs.rejects import Rejects

READ_SCHEMA = pa.schema(
    [
        (ID, pa.string()),
        ("caption", pa.string()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("picture_keys", pa.binary()),
        ("text_key", pa.binary()),
        ("kept", pa.list_(pa.binary())),
        ("pixels", pa.list_(pa.binary())),
        ("latents_shape", pa.list_(pa.int32())),
        ("sequence", pa.binary()),
        ("sequence_shape", pa.list_(pa.int32())),
        ("pooled", pa.binary()),
        ("is_truncated", pa.bool_()),
    ]
)
"""`kept` has a variant's stored encoding or null, `pixels` (H x W x 3) those of the others. The
columns of the text are null where it is to be encoded."""

_DATASET_COLUMNS = (ID, "image", "caption", *SIZE_COLUMNS)
_OLD_COLUMNS = ("picture_keys", "text_key", "is_truncated", *PICTURE_COLUMNS, *TEXT_COLUMNS)


@dataclass(frozen=True)
class CacheReading:
    """What the stage needs to know; picklable."""

    dataset: PictureOrigin
    earlier: PictureOrigin | None
    encoding: Encoding
    variants: int
    augment: TransformsConfig


def reading(what: CacheReading) -> Stage:
    """The stage."""
    return Stage(name="read", make=partial(ReadRows, what), num_workers=None, num_cpus=0.5)


class ReadRows:
    """Rows of `source.ROW_SCHEMA` to rows of READ_SCHEMA; those without a caption are rejected."""

    def __init__(self, what: CacheReading) -> None:
        keep_memory()
        self._what = what

    def __call__(self, table: pa.Table, rejects: Rejects) -> pa.Table:
        rows = []
        for place in table.to_pylist():
            new = _row(self._what.dataset, place, _DATASET_COLUMNS)
            if new is None or new["caption"] is None:
                rejects.add(place[ID], "no_caption", "the dataset has no caption of it")
                continue
            old = self._what.earlier and _row(self._what.earlier, place, _OLD_COLUMNS, "old_")
            rows.append(self._read(new, old or {}))
        return pa.Table.from_pylist(rows, schema=READ_SCHEMA)

    def _read(self, new: Mapping[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
        what, row_id = self._what, new[ID]
        height, width = new["height"], new["width"]
        sha256 = picture_sha256(new["image"])
        keys = [
            what.encoding.of_picture(sha256, row_id=row_id, variant=k, size=(height, width))
            for k in range(what.variants)
        ]
        text_key = what.encoding.of_text(new["caption"])
        held = _encodings(old)
        kept = [held.get(key) for key in keys]
        missing = [k for k, encoding in enumerate(kept) if encoding is None]
        # A picture's shape of latents is that of all of its size.
        is_known = len(missing) < len(keys)
        text = old if old.get("text_key") == text_key else {}
        return {
            ID: row_id,
            "caption": new["caption"],
            "height": height,
            "width": width,
            "picture_keys": b"".join(keys),
            "text_key": text_key,
            "kept": kept,
            "pixels": self._pixels(new, missing),
            "latents_shape": _of_variants(old["latents_shape"], len(keys)) if is_known else None,
            **{name: text.get(name) for name in (*TEXT_COLUMNS, "is_truncated")},
        }

    def _pixels(self, row: Mapping[str, Any], variants: Sequence[int]) -> list[bytes]:
        """Of each of the variants; a picture of which nothing is missing is not decoded."""
        if not variants:
            return []
        shape = ImageShape(row["height"], row["width"], 3)
        pixels_CHW = published_pixels(row["image"], where=f"row {row[ID]}", shape=shape)
        pixels_HWC = np.ascontiguousarray(pixels_CHW.transpose(1, 2, 0))
        return [self._variant(pixels_HWC, row[ID], k).tobytes() for k in variants]

    def _variant(
        self, pixels_HWC: NDArray[np.uint8], row_id: str, variant: int
    ) -> NDArray[np.uint8]:
        if not variant:
            return pixels_HWC
        what = self._what
        image = augment(
            Image.fromarray(pixels_HWC), what.augment, seed=what.encoding.seed, image_id=row_id,
            copy=variant,
        )  # fmt: skip
        size = pixels_HWC.shape[0], pixels_HWC.shape[1]
        return np.asarray(resize(image, size, fit="crop", resample="bicubic", background=255))


def _encodings(old: Mapping[str, Any]) -> dict[bytes, bytes]:
    """The encodings that an earlier cache has of a row, by their keys."""
    if not old:
        return {}
    keys, data = split_keys(old["picture_keys"]), old["latents"]
    size = len(data) // len(keys)
    return {key: data[at * size : (at + 1) * size] for at, key in enumerate(keys)}


def _of_variants(shape: list[int], variants: int) -> list[int]:
    return [variants, *shape[1:]]


def _row(
    origin: PictureOrigin, place: Mapping[str, Any], columns: tuple[str, ...], prefix: str = ""
) -> dict[str, Any] | None:
    """A row of an artifact; None where there is none."""
    file = place[f"{prefix}file"]
    if file is None:
        return None
    group = _group(origin, file, place[f"{prefix}row_group"], columns)
    (row,) = group.slice(place[f"{prefix}position"], 1).to_pylist()
    return dict(row)


_HELD: dict[tuple[str, str], tuple[tuple[str, int], pa.Table]] = {}


def _group(origin: PictureOrigin, file: str, index: int, columns: tuple[str, ...]) -> pa.Table:
    """A row group; the last one of each artifact is kept, since a piece's rows lie together."""
    key, where = (origin.uri, origin.digest or ""), (file, index)
    held = _HELD.get(key)
    if held is None or held[0] != where:
        held = _HELD[key] = (where, reader_of(origin).read_whole(file, index, columns))
    return held[1]


def reused(kept: list[bytes | None]) -> int:
    """How many of a row's variants the earlier cache had."""
    return sum(encoding is not None for encoding in kept)


def stacked(kept: list[bytes | None], encoded: Iterator[bytes]) -> bytes:
    """All variants of a row behind each other: what was kept, and in its gaps what was encoded."""
    return b"".join(next(encoded) if encoding is None else encoding for encoding in kept)
