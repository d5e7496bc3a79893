"""What is compared: generated pictures, and the splits of the reference.

Pictures are kept as uint8, a quarter of float32; they are decoded one Parquet row group or one
batch of files at a time, by the decoder that `prepare` uses and with the reference's settings, so
a folder gives what `prepare` would have made of it. Every picture must have the reference's size:
resizing here would change the distances without a word.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from darkroom.config import build_config
from darkroom.errors import DataError, ObjectNotFoundError
from darkroom.jobs.artifacts import Kind
from darkroom.jobs.artifacts.columns import check_columns
from darkroom.jobs.artifacts.samples import Samples
from darkroom.jobs.pictures.config import EncodingConfig, LimitsConfig
from darkroom.jobs.pictures.decode import Picture, decode
from darkroom.jobs.pictures.encode import stored_bytes
from darkroom.jobs.pictures.files import read_files
from darkroom.jobs.pictures.folder import list_folder
from darkroom.jobs.pictures.listing import Item
from darkroom.jobs.rejects import Reject
from darkroom.jobs.seeding import sample
from darkroom.storage import Artifact, Parent, Uri, open_artifact, open_store, parse_uri
from darkroom.storage.store import for_each

BATCH_FILES = 64
READ_CONCURRENCY = 16
_REMEDY = (
    "it is neither published samples nor a folder of pictures: give what `darkroom sample` "
    "published, or a folder of JPEG, PNG or WebP files"
)


@dataclass(frozen=True)
class PictureShape:
    """Height, width and channels that all compared pictures have."""

    height: int
    width: int
    channels: Literal[1, 3]

    def __str__(self) -> str:
        return f"{self.width}x{self.height} with {self.channels} channel(s)"


@dataclass(frozen=True)
class Decoder:
    """Encoded pictures to arrays, as `prepare` decoded the reference's."""

    shape: PictureShape
    background: int
    animated: Literal["reject", "first_frame"]
    limits: LimitsConfig
    encoding: EncodingConfig

    def __call__(self, data: bytes, where: str, field_name: str) -> NDArray[np.uint8] | Reject:
        """uint8 CHW, or why there is none. Errors: DataError for another size."""
        picture = self._decode(data)
        return picture if isinstance(picture, Reject) else self._array(picture, where, field_name)

    def as_stored(self, data: bytes, where: str) -> NDArray[np.uint8] | Reject:
        """A file as `prepare` would have stored it: one that it converts loses what JPEG loses."""
        picture = self._decode(data)
        if isinstance(picture, Reject):
            return picture
        stored = stored_bytes(picture, data, self.encoding)
        return (
            self._array(picture, where, "input") if stored is data else self(stored, where, "input")
        )

    def _array(self, picture: Picture, where: str, field_name: str) -> NDArray[np.uint8]:
        width, height = picture.image.size
        if (width, height) != (self.shape.width, self.shape.height):
            raise DataError(
                field_name, f"{width}x{height}",
                f"the size of {where}, differs from the reference's "
                f"{self.shape.width}x{self.shape.height}",
                "compare pictures of one size: draw or prepare them so",
            )  # fmt: skip
        array = np.asarray(picture.image)
        return array[None] if array.ndim == 2 else np.ascontiguousarray(array.transpose(2, 0, 1))

    def _decode(self, data: bytes) -> Picture | Reject:
        return decode(
            data,
            channels=self.shape.channels,
            background=self.background,
            animated=self.animated,
            limits=self.limits,
        )


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
    decoder: Decoder
    train: Pictures
    test: Pictures


@dataclass(frozen=True)
class Generated:
    """The pictures that are measured, and where they come from."""

    pictures: Pictures
    parent: Parent
    rejects: Sequence[Reject] = ()
    """Files of a folder that cannot be used."""


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
    classes = tuple(metadata.get("classes") or ())
    columns = ("image", "label")
    check_columns(artifact, len(classes), field="reference", columns=columns, labelled=False)
    decoder = _decoder(artifact)
    return Reference(
        artifact=artifact,
        classes=classes,
        decoder=decoder,
        train=_read_split(artifact, "train", decoder),
        test=_read_split(artifact, "test", decoder),
    )


def read_generated(
    uri: str, reference: Reference, *, limit: int | None = None, seed: int = 0
) -> Generated:
    """Published samples, or the pictures of a folder whose subfolders name classes.

    Errors: DataError for an empty input, another size, or a class the reference lacks.
    """
    try:
        artifact = open_artifact(uri)
    except ObjectNotFoundError:
        return _read_folder(parse_uri(uri, field="input"), reference, limit=limit, seed=seed)
    if artifact.manifest.kind != Kind.SAMPLES:
        raise DataError(
            "input", uri, f"is a published {artifact.manifest.kind}, not samples",
            "draw pictures with `darkroom sample` and give their URI",
        )  # fmt: skip
    pictures = _read_samples(artifact, reference, limit=limit, seed=seed)
    return Generated(pictures, artifact.as_parent("samples"))


def _decoder(reference: Artifact) -> Decoder:
    height, width = reference.manifest.metadata["image_size"]
    config = reference.manifest.config
    limits = LimitsConfig()
    given = config.get("limits", {})
    return Decoder(
        PictureShape(height, width, reference.manifest.metadata["channels"]),
        background=config.get("background", 255),
        animated=config.get("animated", "reject"),
        # min_side is about pictures before they are resized.
        limits=LimitsConfig(
            max_bytes=given.get("max_bytes", limits.max_bytes),
            max_pixels=given.get("max_pixels", limits.max_pixels),
        ),
        encoding=build_config(EncodingConfig, config.get("encoding", {})),
    )


def _read_split(artifact: Artifact, split: str, decoder: Decoder) -> Pictures:
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
    images: list[NDArray[np.uint8]] = []
    labels: list[int | None] = []
    for name in names:
        for encoded, column in _row_groups(artifact, name, "label"):
            images += _decode_all(encoded, decoder, f"{artifact.uri}/{name}", "reference")
            labels += column
    return Pictures(np.stack(images), None if None in labels else np.array(labels, dtype=np.int64))


def _read_samples(
    artifact: Artifact, reference: Reference, *, limit: int | None, seed: int
) -> Pictures:
    rows = [
        row
        for table in Samples.of(artifact).tables(("id", "class_name", "file_name"))
        for row in table.to_pylist()
    ]
    classes: list[str | None] = [row["class_name"] for row in rows]
    chosen = sample([row["id"] for row in rows], classes, limit=limit, seed=seed)
    names = [rows[at]["file_name"] for at in chosen]
    encoded = for_each(artifact.read_bytes, names)
    images = [
        picture
        for name, data in zip(names, encoded, strict=True)
        for picture in _decode_all([data], reference.decoder, f"{artifact.uri}/{name}", "input")
    ]
    return Pictures(np.stack(images), _labels([classes[at] for at in chosen], reference))


def _read_folder(root: Uri, reference: Reference, *, limit: int | None, seed: int) -> Generated:
    listing = list_folder(root, field="input", classes="wanted", remedy=_REMEDY)
    items = listing.items
    names = [None if i.label is None else listing.classes[i.label] for i in items]
    chosen = sample([i.id for i in items], names, limit=limit, seed=seed)
    # A quick look tells of what it looked at.
    rejects = list(listing.rejects) if limit is None else []
    images: list[NDArray[np.uint8]] = []
    kept: list[str | None] = []
    digest = hashlib.sha256()
    for at, data in _files(root, items, chosen, reference.decoder.limits.max_bytes):
        path = items[at].path
        image = _decoded(data, items[at], reference.decoder)
        digest.update(f"{path} {hashlib.sha256(data or b'').hexdigest()}\n".encode())
        if isinstance(image, Reject):
            rejects.append(replace(image, id=path))
        else:
            images.append(image)
            kept.append(names[at])
    if not images:
        last = rejects[-1]
        others = f" and {len(rejects) - 1} others" if len(rejects) > 1 else ""
        raise DataError(
            "input", str(root),
            f"{last.id}{others} cannot be read ({last.reason}: {last.detail})",
            "give JPEG, PNG or WebP files",
        )  # fmt: skip
    parent = Parent("samples", str(root), digest.hexdigest(), "folder")
    return Generated(Pictures(np.stack(images), _labels(kept, reference)), parent, rejects)


def _files(
    root: Uri, items: Sequence[Item], chosen: Sequence[int], max_bytes: int
) -> Iterator[tuple[int, bytes | None]]:
    """Position and bytes of the chosen files, one batch in memory; None for too large ones."""
    store = open_store(root)
    for start in range(0, len(chosen), BATCH_FILES):
        batch = chosen[start : start + BATCH_FILES]
        small = [at for at in batch if items[at].size <= max_bytes]
        data = read_files(
            store, [items[at] for at in small], concurrency=READ_CONCURRENCY, field="input"
        )
        found = dict(zip(small, data, strict=True))
        yield from ((at, found.get(at)) for at in batch)


def _decoded(data: bytes | None, item: Item, decoder: Decoder) -> NDArray[np.uint8] | Reject:
    if data is None:
        detail = f"{item.size} bytes; at most {decoder.limits.max_bytes}"
        return Reject(item.path, "read", "too_many_bytes", detail)
    return decoder.as_stored(data, item.path)


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
    encoded: Sequence[bytes], decoder: Decoder, where: str, field_name: str
) -> list[NDArray[np.uint8]]:
    """Of what was published. Errors: DataError for one that is damaged."""
    images = []
    for data in encoded:
        image = decoder(data or b"", where, field_name)
        if isinstance(image, Reject):
            raise DataError(
                field_name, where,
                f"holds a picture that cannot be read ({image.reason}: {image.detail})",
            )  # fmt: skip
        images.append(image)
    return images
