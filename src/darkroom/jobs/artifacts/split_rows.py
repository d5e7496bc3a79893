"""Rows in splits: files `data/<split>/part-NNNNN.parquet`, as datasets and latents have them.

Each file's entry in the manifest names its split and the rows of its row groups, so that training
orders rows without opening a file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darkroom.jobs.artifacts.info import plain_values, read_values
from darkroom.jobs.artifacts.row_groups import RowGroupReader, RowGroups
from darkroom.jobs.pictures.config import Split
from darkroom.storage import Artifact, FileEntry

SIZE_COLUMNS = ("height", "width")


@dataclass(frozen=True, slots=True)
class SplitPart:
    """What the entry of one data file says of it."""

    split: Split
    row_groups: tuple[int, ...]
    """Rows of each row group."""

    def to_metadata(self) -> dict[str, Any]:
        """Plain JSON values for the file's entry."""
        return plain_values(self)


@dataclass(frozen=True)
class SplitRows:
    """Something published whose rows are in splits."""

    artifact: Artifact

    @cached_property
    def reader(self) -> RowGroupReader:
        """What reads the files."""
        return RowGroupReader(self.artifact)

    def files(self, split: Split | None = None) -> list[FileEntry]:
        """The data files of a split, or all, in order. This is how a row's split is known."""
        return [entry for entry, _ in self._parts(split)]

    def row_groups(self, split: Split | None = None, limit: int | None = None) -> RowGroups:
        """Row groups as the manifest lists them, at most `limit` rows of them; no file is read."""
        files = ((entry.name, part.row_groups) for entry, part in self._parts(split))
        return RowGroups.of_files(files, limit)

    def sizes(self, split: Split | None = None, limit: int | None = None) -> NDArray[np.int64]:
        """Height and width of the rows of `row_groups`, shape (N, 2); no picture is read."""
        tables = (self.reader.read(group, SIZE_COLUMNS) for group in self.row_groups(split, limit))
        sizes = [np.stack([table[name].to_numpy() for name in SIZE_COLUMNS], 1) for table in tables]
        return np.concatenate(sizes).astype(np.int64) if sizes else np.empty((0, 2), np.int64)

    def _parts(self, split: Split | None) -> Iterator[tuple[FileEntry, SplitPart]]:
        for entry in self.artifact.entries("data/"):
            part = read_values(
                SplitPart, entry.metadata, what=f"has a file {entry.name}",
                where=str(self.artifact.uri), field="input",
                remedy="publish it again with this Darkroom",
            )  # fmt: skip
            if split in (None, part.split):
                yield entry, part
