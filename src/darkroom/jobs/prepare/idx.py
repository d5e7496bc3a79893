"""Files in MNIST's IDX format, gzipped or not, on S3 or on disk, as a source.

    <uri>/{train,validation,t10k,test}-images-idx3-ubyte[.gz]      uint8 [N, height, width(, 3)]
    <uri>/{train,validation,t10k,test}-labels-idx1-ubyte[.gz]      uint8 [N]

Files are asked for by name, so a public bucket need not let itself be listed. The files decide
the split. A task reads the whole file of its pictures once and keeps it for the next chunk.
Format: Y. LeCun, C. Cortes, C. Burges, "The MNIST database", section on file formats.
"""

from __future__ import annotations

import gzip
import io
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Never

import numpy as np
from PIL import Image

from darkroom.config import json_digest
from darkroom.contents import HEAD_BYTES, foreign
from darkroom.errors import DataError, ObjectNotFoundError
from darkroom.jobs.pictures.config import Split
from darkroom.jobs.pictures.files import changed
from darkroom.jobs.pictures.layout import nfc
from darkroom.jobs.pictures.listing import Item, PictureListing
from darkroom.jobs.prepare.config import IdxSource
from darkroom.jobs.seeding import rank_key
from darkroom.storage import Parent, open_store, parse_uri

_SPLITS: dict[str, Split] = {
    "train": "train",
    "validation": "validation",
    "t10k": "test",
    "test": "test",
}
_UINT8 = 0x08
_MAX_BYTES = 4 * 1024**3


@dataclass(frozen=True, slots=True)
class IdxFile:
    """A file as it was read."""

    key: str
    etag: str
    array: np.ndarray
    """uint8, of the shape that its header gives."""


class IdxFiles:
    """Pairs of an image and a label file, one pair per split."""

    def __init__(self, config: IdxSource) -> None:
        self._config = config
        self._root = parse_uri(config.uri, field="source.uri")
        self._store = open_store(self._root)

    def listing(self) -> PictureListing:
        pairs = [pair for name in _SPLITS if (pair := self._pair(name))]
        if not pairs:
            raise DataError(
                "source.uri",
                str(self._root),
                "holds no train-images-idx3-ubyte, gzipped or not",
                "name the folder of MNIST-format files",
            )
        items = [item for pair in pairs for item in self._items(*pair)]
        num_classes = 1 + max(item.label or 0 for item in items)
        digests = [[file.key, file.array.shape, file.etag] for pair in pairs for file in pair[1:]]
        return PictureListing(
            items=items,
            classes=self._classes(num_classes),
            parent=Parent("source", str(self._root), json_digest(digests), "idx"),
        )

    def read(self, items: Sequence[Item], *, concurrency: int) -> list[bytes]:
        return [self._png(item) for item in items]

    def heads(self, items: Sequence[Item], *, length: int, concurrency: int) -> list[bytes]:
        return self.read(items, concurrency=concurrency)

    def _png(self, item: Item) -> bytes:
        key, _, index = item.path.rpartition("/")
        file = _read_cached(str(self._root), key)
        if item.etag is not None and file.etag != item.etag:
            _read_cached.cache_clear()
            raise changed(self._root, key, "has changed", field="source.uri")
        out = io.BytesIO()
        Image.fromarray(file.array[int(index)]).save(out, "PNG")
        return out.getvalue()

    def _pair(self, name: str) -> tuple[str, IdxFile, IdxFile] | None:
        """(name, images, labels), None where neither file is there."""
        images_key = self._find(f"{name}-images", 3)
        labels_key = self._find(f"{name}-labels", 1)
        if images_key is None and labels_key is None:
            return None
        if images_key is None or labels_key is None:
            there = images_key or labels_key
            missing = "labels" if labels_key is None else "images"
            _fail(f"{self._root / str(there)}", f"has no {missing} beside it", "put it there")
        images = _read_cached(str(self._root), images_key)
        labels = _read_cached(str(self._root), labels_key)
        self._check(images, labels)
        return name, images, labels

    def _find(self, stem: str, dimensions: int) -> str | None:
        names = [f"{stem}{dash}idx{dimensions}-ubyte{end}" for dash in "-." for end in (".gz", "")]
        return next((name for name in names if self._store.head(name) is not None), None)

    def _check(self, images: IdxFile, labels: IdxFile) -> None:
        shape = images.array.shape
        if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] != 3) or not all(shape):
            what = f"holds an array of shape {list(shape)}"
            _fail(str(self._root / images.key), what, "give it [N, height, width] or [.., 3]")
        if labels.array.shape != shape[:1]:
            what = f"holds {len(labels.array)} labels for {shape[0]} images"
            _fail(str(self._root / labels.key), what, "use the pair that belongs together")

    def _items(self, name: str, images: IdxFile, labels: IdxFile) -> list[Item]:
        size = math.prod(images.array.shape[1:])
        ids = [f"{name}-{index:06d}" for index in range(len(labels.array))]
        held_back = self._held_back(ids) if name == "train" else frozenset()
        return [
            Item(
                id=item_id,
                path=f"{images.key}/{index:06d}",
                label=int(label),
                split="validation" if item_id in held_back else _SPLITS[name],
                size=size,
                etag=images.etag,
            )
            for index, (item_id, label) in enumerate(zip(ids, labels.array, strict=True))
        ]

    def _held_back(self, ids: Sequence[str]) -> frozenset[str]:
        """A fixed draw, so that every seed trains and validates on the same pictures."""
        if self._find("validation-images", 3) is not None:
            return frozenset()
        count = round(self._config.validation_share * len(ids))
        return frozenset(sorted(ids, key=lambda name: rank_key(0, "validation", name))[:count])

    def _classes(self, num_classes: int) -> list[str]:
        names = self._config.classes
        if names is None:
            return [str(label) for label in range(num_classes)]
        if len(names) < num_classes:
            raise DataError(
                "source.classes",
                list(names),
                f"names {len(names)} classes, and labels go up to {num_classes - 1}",
                "name every class",
            )
        plain = [nfc(name).strip() for name in names]
        wrong = next((name for name in plain if not name or plain.count(name) > 1), None)
        if wrong is not None:
            raise DataError(
                "source.classes", list(names),
                f"has {wrong!r} twice" if wrong else "has a name of nothing but spaces",
                "give each class a name of its own",
            )  # fmt: skip
        return plain


@lru_cache(maxsize=4)
def _read_cached(root: str, key: str) -> IdxFile:
    """A file whole. Errors: DataError."""
    uri = parse_uri(root, field="source.uri")
    try:
        data, etag = open_store(uri).get_with_etag(key)
    except ObjectNotFoundError:
        raise changed(uri, key, "has been deleted", field="source.uri") from None
    return IdxFile(key, etag, parse_idx(data, where=str(uri / key)))


def parse_idx(data: bytes, *, where: str) -> np.ndarray:
    """A uint8 array from IDX bytes, gzipped or not. Errors: DataError naming `where`."""
    if other := foreign(data[:HEAD_BYTES]):
        _fail(where, other.what, other.remedy)
    try:
        plain = io.BytesIO(data)
        opened = gzip.GzipFile(fileobj=plain) if data[:2] == b"\x1f\x8b" else plain
        head = opened.read(4)
        if len(head) < 4 or head[:2] != b"\0\0" or head[2] != _UINT8 or not 1 <= head[3] <= 4:
            _fail(where, f"begins with {head.hex(' ') or 'nothing'}", "give IDX files of bytes")
        shape = [int.from_bytes(opened.read(4)) for _ in range(head[3])]
        size = math.prod(shape)
        if size > _MAX_BYTES:
            _fail(where, f"claims {size} bytes", f"give at most {_MAX_BYTES}")
        values = opened.read(size + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        _fail(where, f"does not decompress ({error})", "fetch it again")
    if len(values) != size:
        has = f"{len(values)}" if len(values) < size else "more"
        _fail(where, f"claims the shape {shape}, {size} bytes, and holds {has}", "fetch it again")
    return np.frombuffer(values, np.uint8).reshape(shape)


def _fail(where: str, problem: str, remedy: str) -> Never:
    raise DataError("source.uri", where, problem, remedy) from None
