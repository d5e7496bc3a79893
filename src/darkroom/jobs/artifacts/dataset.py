"""A dataset: pictures with labels and captions in splits, as `darkroom prepare` publishes them.

Its files are `data/<split>/part-NNNNN.parquet` with the columns of `DATASET_SCHEMA`. Each file's
entry in the manifest names its split and the rows of its row groups, so that training orders them
without opening a file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from darkroom.errors import DataError
from darkroom.jobs.artifacts.batch import BatchInfo
from darkroom.jobs.artifacts.info import plain_values, read_values
from darkroom.jobs.artifacts.kind import Kind
from darkroom.jobs.artifacts.row_groups import RowGroup, RowGroupReader
from darkroom.jobs.pictures.config import Split
from darkroom.jobs.pictures.decode import published_pixels
from darkroom.jobs.pictures.shape import ImageShape
from darkroom.storage import Artifact, FileEntry

if TYPE_CHECKING:
    import pyarrow as pa

ROW_COLUMNS = ("id", "image", "label", "caption")
SIZE_COLUMNS = ("height", "width")


@dataclass(frozen=True, kw_only=True)
class BucketRows:
    """A size that pictures were asked to have, one of several, and how many have it."""

    height: int
    width: int
    split_rows: Mapping[str, int]
    """Rows of each split that has any."""


@dataclass(frozen=True, kw_only=True)
class DatasetInfo(BatchInfo):
    """What a dataset's manifest says of it."""

    kind: ClassVar[Kind] = Kind.DATASET
    verb: ClassVar[str] = "prepare"

    classes: tuple[str, ...]
    """Names of the labels, by index; empty for pictures without classes."""
    split_rows: Mapping[str, int]
    """Rows of each split."""
    image_size: tuple[int, int] | None
    """Height and width of every picture; None where they differ, as in buckets."""
    channels: Literal[1, 3]
    num_skipped: Mapping[str, int]
    """Files that are no pictures by their names, by extension."""
    source: Mapping[str, Any]
    """The source's settings."""
    augment: Mapping[str, Any] | None = None
    """The augmentation's settings; None when there are no copies."""
    buckets: tuple[BucketRows, ...] = ()
    """Every size there is, where pictures were sorted into buckets; else empty."""


@dataclass(frozen=True, slots=True)
class DatasetPart:
    """What the entry of one data file says of it."""

    split: Split
    row_groups: tuple[int, ...]
    """Rows of each row group."""

    def to_metadata(self) -> dict[str, Any]:
        """Plain JSON values for the file's entry."""
        return plain_values(self)


@dataclass(frozen=True, slots=True)
class DatasetRow:
    """One picture with what is known of it."""

    id: str
    image: bytes
    """Encoded."""
    label: int | None
    caption: str | None

    def pixels(self, shape: ImageShape | None = None) -> NDArray[np.uint8]:
        """uint8 CHW. Errors: DataError for another size than `shape`'s."""
        return published_pixels(self.image, where=f"row {self.id}", shape=shape)


@dataclass(frozen=True)
class Dataset:
    """A published dataset and its rows."""

    artifact: Artifact
    info: DatasetInfo

    @classmethod
    def of(cls, artifact: Artifact, *, field: str = "input") -> Self:
        """Errors: DataError for what is no dataset."""
        return cls(artifact, DatasetInfo.of(artifact, field=field))

    @cached_property
    def reader(self) -> RowGroupReader:
        """What reads the files."""
        return RowGroupReader(self.artifact)

    def shape(self, *, field: str = "input") -> ImageShape:
        """The size of all pictures. Errors: DataError when they differ."""
        if self.info.image_size is None:
            raise DataError(
                field, str(self.artifact.uri), "its images differ in size",
                "prepare it again with image_size set",
            )  # fmt: skip
        return ImageShape(*self.info.image_size, self.info.channels)

    def files(self, split: Split | None = None) -> list[FileEntry]:
        """The data files of a split, or all, in order. This is how a row's split is known."""
        return [entry for entry, _ in self._parts(split)]

    def row_groups(self, split: Split | None = None, limit: int | None = None) -> list[RowGroup]:
        """Row groups as the manifest lists them, at most `limit` rows of them; no file is read."""
        groups: list[RowGroup] = []
        left = limit
        for entry, part in self._parts(split):
            for index, num_rows in enumerate(part.row_groups):
                size = num_rows if left is None else min(num_rows, left)
                if size:
                    groups.append(RowGroup(entry.name, index, size))
                left = None if left is None else left - size
        return groups

    def sizes(self, split: Split | None = None, limit: int | None = None) -> NDArray[np.int64]:
        """Height and width of the rows of `row_groups`, shape (N, 2); no picture is read."""
        tables = (self.reader.read(group, SIZE_COLUMNS) for group in self.row_groups(split, limit))
        sizes = [np.stack([table[name].to_numpy() for name in SIZE_COLUMNS], 1) for table in tables]
        return np.concatenate(sizes).astype(np.int64) if sizes else np.empty((0, 2), np.int64)

    def tables(
        self, split: Split | None = None, columns: Sequence[str] = ROW_COLUMNS
    ) -> Iterator[pa.Table]:
        """The rows, one row group at a time."""
        for group in self.row_groups(split):
            yield self.reader.read(group, columns)

    def rows(self, split: Split | None = None, *, limit: int | None = None) -> Iterator[DatasetRow]:
        """One row at a time."""
        for group in self.row_groups(split, limit):
            for row in self.reader.read(group, ROW_COLUMNS).to_pylist():
                yield DatasetRow(**row)

    def _parts(self, split: Split | None) -> Iterator[tuple[FileEntry, DatasetPart]]:
        for entry in self.artifact.entries("data/"):
            part = read_values(
                DatasetPart, entry.metadata, what=f"has a file {entry.name}",
                where=str(self.artifact.uri), field="input",
                remedy="prepare it with `darkroom prepare`",
            )  # fmt: skip
            if split in (None, part.split):
                yield entry, part
