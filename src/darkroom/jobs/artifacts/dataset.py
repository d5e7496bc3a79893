"""A dataset: pictures with labels and captions in splits, as `darkroom prepare` publishes them.

Its files are those of `split_rows.py`, with the columns of `DATASET_SCHEMA`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from darkroom.errors import DataError
from darkroom.jobs.artifacts.batch import BatchInfo
from darkroom.jobs.artifacts.kind import Kind
from darkroom.jobs.artifacts.split_rows import SplitRows
from darkroom.jobs.pictures.config import Split
from darkroom.jobs.pictures.decode import published_pixels
from darkroom.jobs.pictures.shape import ImageShape
from darkroom.storage import Artifact

if TYPE_CHECKING:
    import pyarrow as pa

ROW_COLUMNS = ("id", "image", "label", "caption")


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
class Dataset(SplitRows):
    """A published dataset and its rows."""

    info: DatasetInfo

    @classmethod
    def of(cls, artifact: Artifact, *, field: str = "input") -> Self:
        """Errors: DataError for what is no dataset."""
        return cls(artifact, DatasetInfo.of(artifact, field=field))

    def shape(self, *, field: str = "input") -> ImageShape:
        """The size of all pictures. Errors: DataError when they differ."""
        if self.info.image_size is None:
            raise DataError(
                field, str(self.artifact.uri), "its images differ in size",
                "prepare it again with image_size set",
            )  # fmt: skip
        return ImageShape(*self.info.image_size, self.info.channels)

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
