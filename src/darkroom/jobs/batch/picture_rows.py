"""Rows that are pictures: where each lies, and its encoded bytes when a stage asks for them.

A picture is a file of a folder, read in exactly the version that was listed, or a row of a row
group of a published artifact, of which every piece reads each group once. The driver lists, the
tasks read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import pyarrow as pa

from darkroom.errors import IntegrityError
from darkroom.jobs.artifacts.row_groups import RowGroup, RowGroupReader
from darkroom.jobs.batch.stage import ID
from darkroom.jobs.pictures.files import read_files
from darkroom.jobs.pictures.listing import Item
from darkroom.jobs.rejects import Rejects
from darkroom.storage import Artifact, open_artifact, open_store, parse_uri

LOCATION: Sequence[tuple[str, pa.DataType]] = (
    (ID, pa.string()),
    ("path", pa.string()),
    ("size", pa.int64()),
    ("etag", pa.string()),
    ("row_group", pa.int64()),
    ("position", pa.int64()),
)
"""Columns of such rows. `path` is a file of the folder, with its size and version; of an artifact
the Parquet file, whose row `position` of `row_group` the picture is."""


@dataclass(frozen=True)
class PictureOrigin:
    """A folder, or an artifact in the very version that the driver saw."""

    uri: str
    digest: str | None = None
    """None for a folder."""

    @classmethod
    def of(cls, artifact: Artifact) -> PictureOrigin:
        """What is published."""
        return cls(str(artifact.uri), artifact.digest)

    def open(self) -> Artifact:
        """The artifact. Errors: IntegrityError when another was published there meanwhile."""
        artifact = open_artifact(self.uri)
        if artifact.digest != self.digest:
            raise IntegrityError(f"{self.uri} was published anew while this run read it")
        return artifact

    def read(
        self,
        rows: pa.Table,
        rejects: Rejects,
        *,
        max_bytes: int,
        concurrency: int,
        field: str = "input",
    ) -> list[bytes | None]:
        """Encoded bytes of rows, in order; None for a file that is too large to be read at all."""
        if self.digest is None:
            return self._files(rows, rejects, max_bytes, concurrency, field)
        reader = reader_of(self)
        groups: dict[tuple[str, int], pa.ChunkedArray] = {}
        found: list[bytes | None] = []
        for row in rows.select(("path", "row_group", "position")).to_pylist():
            key = (row["path"], row["row_group"])
            if key not in groups:
                groups[key] = reader.read_whole(*key, ("image",))["image"]
            found.append(groups[key][row["position"]].as_py())
        return found

    def _files(
        self, rows: pa.Table, rejects: Rejects, max_bytes: int, concurrency: int, field: str
    ) -> list[bytes | None]:
        listed = [Item(row.pop(ID), **row) for row in rows.select(_OF_FILES).to_pylist()]
        small = [item for item in listed if item.size <= max_bytes]
        store = open_store(parse_uri(self.uri, field=field))
        data = read_files(store, small, concurrency=concurrency, field=field)
        found = dict(zip((item.path for item in small), data, strict=True))
        for item in listed:
            if item.path not in found:
                rejects.add(item.id, "too_many_bytes", f"{item.size} bytes; at most {max_bytes}")
        return [found.get(item.path) for item in listed]


_OF_FILES = (ID, "path", "size", "etag")


@cache
def reader_of(source: PictureOrigin) -> RowGroupReader:
    """An artifact's, one per worker process: it keeps the files' footers."""
    return RowGroupReader(source.open())


def rows_of_files(items: Sequence[Item]) -> dict[str, list[Any]]:
    """The columns of files of a folder."""
    none: list[Any] = [None] * len(items)
    return {
        ID: [item.id for item in items],
        "path": [item.path for item in items],
        "size": [item.size for item in items],
        "etag": [item.etag for item in items],
        "row_group": none,
        "position": none,
    }


def rows_of_group(group: RowGroup, ids: list[str]) -> dict[str, list[Any]]:
    """The columns of an artifact's row group."""
    count = len(ids)
    return {
        ID: ids,
        "path": [group.file] * count,
        "size": [0] * count,
        "etag": [None] * count,
        "row_group": [group.index] * count,
        "position": list(range(count)),
    }
