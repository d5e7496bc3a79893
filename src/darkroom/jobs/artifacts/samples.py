"""Samples: pictures that a model has drawn, as `darkroom sample` publishes them.

`images/` has the pictures, and nothing else has them; `data/part-NNNNN.parquet` a row for each, in
the order of `index`. `grid.png` shows a few of each class, and `strip/` the intermediates of one
picture of each class.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from darkroom.jobs.artifacts.batch import BatchInfo
from darkroom.jobs.artifacts.info import plain_values, read_values
from darkroom.jobs.artifacts.kind import Kind
from darkroom.jobs.artifacts.row_groups import RowGroup, RowGroupReader
from darkroom.jobs.pictures.decode import published_pixels
from darkroom.jobs.pictures.shape import ImageShape
from darkroom.storage import Artifact

if TYPE_CHECKING:
    import pyarrow as pa

DATA_PREFIX = "data/"
GRID_FILE = "grid.png"
STRIP_PREFIX = "strip/"


def level_label(timestep: int | None) -> str:
    """What a frame of the reverse or forward process is called; None is the picture itself."""
    return "picture" if timestep is None else f"t = {timestep}"


@dataclass(frozen=True, kw_only=True)
class ModelName:
    """Which model drew."""

    uri: str
    digest: str
    """Of its manifest."""
    step: int | None = None
    """Optimizer steps behind its weights; None for one that Darkroom did not train."""
    content_digest: str | None = None
    """The same for equal weights wherever they lie; None where nobody wrote it down."""


@dataclass(frozen=True, kw_only=True)
class SamplesInfo(BatchInfo):
    """What the manifest of samples says of them."""

    kind: ClassVar[Kind] = Kind.SAMPLES
    verb: ClassVar[str] = "sample"

    classes: tuple[str, ...]
    """The model's classes; none where it draws by prompts."""
    num_per_class: Mapping[str, int]
    """Of the classes that were drawn."""
    image_size: tuple[int, int]
    """Height and width in pixels."""
    channels: int
    sampler: str
    """Of the core by its name; a text-to-image model's scheduler by that of its class."""
    num_steps: int
    guidance_scale: float
    eta: float
    seed: int
    model: ModelName
    prompts: tuple[str, ...] = ()
    """What was drawn in turn; none where the model draws by classes."""
    strip_timesteps: tuple[int | None, ...] = ()
    """The strip's columns; None is the finished picture."""

    @property
    def shape(self) -> ImageShape:
        """The size of every picture."""
        return ImageShape(*self.image_size, self.channels)


@dataclass(frozen=True, slots=True)
class StripFrame:
    """What the entry of one intermediate says of it."""

    class_name: str
    """Empty for a model without classes."""
    timestep: int | None

    def to_metadata(self) -> dict[str, Any]:
        """Plain JSON values for the file's entry."""
        return plain_values(self)


@dataclass(frozen=True)
class Samples:
    """Published samples and their pictures."""

    artifact: Artifact
    info: SamplesInfo

    @classmethod
    def of(cls, artifact: Artifact, *, field: str = "input") -> Self:
        """Errors: DataError for what is no samples."""
        return cls(artifact, SamplesInfo.of(artifact, field=field))

    @cached_property
    def reader(self) -> RowGroupReader:
        """What reads the table."""
        return RowGroupReader(self.artifact)

    def tables(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """The rows, one row group at a time; `image` is the encoded picture."""
        for group in self.row_groups():
            yield self.reader.read(group, columns)

    def row_groups(self) -> list[RowGroup]:
        """Where the rows lie, in order."""
        files = [entry.name for entry in self.artifact.entries(DATA_PREFIX)]
        return [group for file in files for group in self.reader.groups(file)]

    def strip(self, num_classes: int) -> dict[str, list[tuple[int | None, NDArray[np.uint8]]]]:
        """Timesteps and intermediates (uint8 CHW) of each of the first classes, noise first."""
        rows: dict[str, list[tuple[int | None, NDArray[np.uint8]]]] = {}
        for entry in self.artifact.entries(STRIP_PREFIX):
            frame = read_values(
                StripFrame, entry.metadata, what=f"has a file {entry.name}",
                where=str(self.artifact.uri), field="samples",
                remedy="draw it with `darkroom sample`",
            )  # fmt: skip
            if frame.class_name in rows or len(rows) < num_classes:
                image = published_pixels(self.artifact.read_bytes(entry.name), where=entry.name)
                rows.setdefault(frame.class_name, []).append((frame.timestep, image))
        return rows
