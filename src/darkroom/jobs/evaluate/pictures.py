"""Reads the pictures that are compared: generated ones and the splits of the reference.

Pictures are kept as uint8, a quarter of float32; they are decoded one Parquet row group or one
batch of files at a time. Every picture must have the reference's size and channels: resizing
here would change the distances without a word.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from darkroom.errors import DataError, ObjectNotFoundError
from darkroom.jobs.artifacts import Kind
from darkroom.storage import Artifact, ObjectStore, Parent, open_artifact, open_store

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True)
class PictureShape:
    """Height, width and channels that all compared pictures have."""

    height: int
    width: int
    channels: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height} with {self.channels} channel(s)"

    @property
    def mode(self) -> str:
        """PIL's mode."""
        return "L" if self.channels == 1 else "RGB"


@dataclass(frozen=True)
class Pictures:
    """Pictures with their classes."""

    images: NDArray[np.uint8] = field(repr=False)
    """BCHW."""
    labels: NDArray[np.int64] | None = field(repr=False)
    """(B,) indices into the reference's classes; None when they have none."""

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class Reference:
    """The real pictures."""

    artifact: Artifact
    classes: tuple[str, ...]
    shape: PictureShape
    train: Pictures
    test: Pictures


@dataclass(frozen=True)
class Generated:
    """The pictures that are measured, and where they come from."""

    pictures: Pictures
    parent: Parent


def read_reference(uri: str) -> Reference:
    """The training and the test split of a prepared data set.

    Errors: DataError when a split is missing or its pictures have no one size.
    """
    artifact = open_artifact(uri, kind=Kind.DATASET)
    metadata = artifact.manifest.metadata
    if metadata.get("image_size") is None:
        raise DataError(
            "reference", uri, "holds pictures of several sizes",
            "prepare it with one image_size, that of the generated pictures",
        )  # fmt: skip
    height, width = metadata["image_size"]
    shape = PictureShape(height, width, metadata["channels"])
    return Reference(
        artifact=artifact,
        classes=tuple(metadata.get("classes") or ()),
        shape=shape,
        train=_read_split(artifact, "train", shape),
        test=_read_split(artifact, "test", shape),
    )


def read_generated(uri: str, reference: Reference, limit: int | None = None) -> Generated:
    """Published samples, or the pictures of a folder whose subfolders name classes.

    Errors: DataError for an empty input, another size, or a class the reference lacks.
    """
    try:
        artifact = open_artifact(uri)
    except ObjectNotFoundError:
        return _read_folder(open_store(uri), reference, limit)
    if artifact.manifest.kind != Kind.SAMPLES:
        raise DataError(
            "input", uri, f"is a published {artifact.manifest.kind}, not samples",
            "draw pictures with `darkroom sample` and give their URI",
        )  # fmt: skip
    return Generated(_read_samples(artifact, reference, limit), artifact.as_parent("samples"))


def _read_split(artifact: Artifact, split: str, shape: PictureShape) -> Pictures:
    names = [
        entry.name
        for entry in artifact.entries("data/")
        if entry.metadata.get("split") == split and entry.rows
    ]
    if not names:
        raise DataError(
            "reference", str(artifact.uri), f"has no {split} split",
            "prepare it with a train and a test split",
        )  # fmt: skip
    blocks = [block for name in names for block in _row_groups(artifact, name, "label")]
    images = np.concatenate([_decode_all(images, shape, "reference") for images, _ in blocks])
    labels = [label for _, column in blocks for label in column]
    return Pictures(images, None if None in labels else np.array(labels, dtype=np.int64))


def _read_samples(artifact: Artifact, reference: Reference, limit: int | None) -> Pictures:
    images: list[NDArray[np.uint8]] = []
    names: list[str | None] = []
    for pngs, classes in _row_groups(artifact, "samples.parquet", "class_name"):
        wanted = len(pngs) if limit is None else limit - len(names)
        images.append(_decode_all(pngs[:wanted], reference.shape, "input"))
        names.extend(classes[:wanted])
        if limit is not None and len(names) >= limit:
            break
    return Pictures(np.concatenate(images), _labels(names, reference))


def _read_folder(store: ObjectStore, reference: Reference, limit: int | None) -> Generated:
    keys = sorted(info.key for info in store.list() if info.key.lower().endswith(IMAGE_SUFFIXES))[
        :limit
    ]
    if not keys:
        raise DataError(
            "input", str(store.root), "is neither published samples nor a folder of pictures",
            f"give what `darkroom sample` published, or a folder of {', '.join(IMAGE_SUFFIXES)}",
        )  # fmt: skip
    images, digest = [], hashlib.sha256()
    for key in keys:
        data = store.get(key)
        digest.update(f"{key} {hashlib.sha256(data).hexdigest()}\n".encode())
        images.append(decode(data, reference.shape, f"{store.root}/{key}"))
    names = [key.rpartition("/")[0].rpartition("/")[2] or None for key in keys]
    parent = Parent("samples", str(store.root), digest.hexdigest(), "folder")
    return Generated(Pictures(np.stack(images), _labels(names, reference)), parent)


def _row_groups(
    artifact: Artifact, name: str, label_column: str
) -> Iterator[tuple[list[bytes], list[Any]]]:
    parquet = artifact.parquet_file(name)
    for number in range(parquet.num_row_groups):
        table = parquet.read_row_group(number, columns=["image", label_column])
        yield table["image"].to_pylist(), table[label_column].to_pylist()


def _labels(names: Sequence[str | None], reference: Reference) -> NDArray[np.int64] | None:
    """Indices into the reference's classes; None when any picture has no class."""
    if None in names or not reference.classes:
        return None
    unknown = sorted(set(names) - set(reference.classes), key=str)
    if unknown:
        raise DataError(
            "input", unknown[0], "is a class that the reference does not have",
            f"it has: {', '.join(reference.classes[:12])}",
        )  # fmt: skip
    number = {name: index for index, name in enumerate(reference.classes)}
    return np.array([number[str(name)] for name in names], dtype=np.int64)


def _decode_all(
    encoded: Iterable[bytes], shape: PictureShape, field_name: str
) -> NDArray[np.uint8]:
    decoded = [decode(data, shape, field_name) for data in encoded]
    empty = np.empty((0, shape.channels, shape.height, shape.width), dtype=np.uint8)
    return np.stack(decoded) if decoded else empty


def decode(data: bytes, shape: PictureShape, where: str) -> NDArray[np.uint8]:
    """One encoded picture as uint8 CHW. Errors: DataError when it is damaged or of another size."""
    try:
        picture = Image.open(io.BytesIO(data)).convert(shape.mode)
    except (UnidentifiedImageError, OSError) as error:
        raise DataError(where, None, f"holds a picture that cannot be read ({error})") from None
    if picture.size != (shape.width, shape.height):
        raise DataError(
            where, f"{picture.width}x{picture.height}",
            f"differs from the reference's {shape.width}x{shape.height}",
            "compare pictures of one size: draw or prepare them so",
        )  # fmt: skip
    array = np.asarray(picture)
    return array[None] if array.ndim == 2 else np.ascontiguousarray(array.transpose(2, 0, 1))
