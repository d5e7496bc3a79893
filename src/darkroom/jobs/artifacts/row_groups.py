"""Reads rows from an artifact's Parquet files, one row group at a time.

Row groups bound memory, and a group is the least that is read. Every read verifies the pages'
checksums. A file's footer is read once. Pictures lie in the table, or in files that it names: the
column `image` is read from wherever they are.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import NDArray

from darkroom.storage import Artifact
from darkroom.storage.store import for_each

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

IMAGE, FILE_NAME = "image", "file_name"

_Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class RowGroup:
    """The first `num_rows` rows of one row group of a file."""

    file: str
    index: int
    num_rows: int


class RowGroups(Sequence[RowGroup]):
    """The row groups of many files in order, as arrays: 8 bytes for each group.

    `starts[g]` is the first row of group g, counted over all of them; the last is their sum.
    """

    def __init__(self, runs: Sequence[tuple[str, int]], firsts: _Numbers, starts: _Numbers) -> None:
        """runs: groups that follow each other in a file: its name, and the first one's index.
        firsts: the number of each run's first group."""
        self._runs, self._firsts, self.starts = runs, firsts, starts

    @classmethod
    def of_files(
        cls, files: Iterable[tuple[str, Sequence[int]]], limit: int | None = None
    ) -> RowGroups:
        """Of files with the rows of their groups; at most `limit` rows, and no empty group."""
        runs: list[tuple[str, int]] = []
        firsts, starts = array("q"), array("q", [0])
        for file, sizes in files:
            follows = False
            for index, size in enumerate(sizes):
                rows = size if limit is None else min(size, limit - starts[-1])
                if rows and not follows:
                    runs.append((file, index))
                    firsts.append(len(starts) - 1)
                if rows:
                    starts.append(starts[-1] + rows)
                follows = bool(rows)
        return cls(runs, np.array(firsts, np.int64), np.array(starts, np.int64))

    @property
    def num_rows(self) -> int:
        """Of all groups."""
        return int(self.starts[-1])

    def __len__(self) -> int:
        return len(self.starts) - 1

    @overload
    def __getitem__(self, at: int) -> RowGroup: ...

    @overload
    def __getitem__(self, at: slice) -> list[RowGroup]: ...

    def __getitem__(self, at: int | slice) -> RowGroup | list[RowGroup]:
        if isinstance(at, slice):
            return [self[number] for number in range(*at.indices(len(self)))]
        number = range(len(self))[at]
        run = int(np.searchsorted(self._firsts, number, side="right")) - 1
        file, index = self._runs[run]
        size = int(self.starts[number + 1] - self.starts[number])
        return RowGroup(file, index + number - int(self._firsts[run]), size)


def starts_of(groups: Sequence[RowGroup]) -> _Numbers:
    """The first row of each group, counted over all of them, and their sum, (N + 1,)."""
    if isinstance(groups, RowGroups):
        return groups.starts
    return np.cumsum([0, *(group.num_rows for group in groups)], dtype=np.int64)


class RowGroupReader:
    """One artifact's row groups. Not for several threads at once."""

    def __init__(self, artifact: Artifact) -> None:
        self._artifact = artifact
        self._files: dict[str, pq.ParquetFile] = {}

    def read(self, group: RowGroup, columns: Sequence[str] | None = None) -> pa.Table:
        """The group's rows. Errors: as `read_whole`."""
        return self.read_whole(group.file, group.index, columns).slice(0, group.num_rows)

    def read_whole(self, file: str, index: int, columns: Sequence[str] | None = None) -> pa.Table:
        """A file's row group, by default all of its columns, with the pictures.

        Errors: IntegrityError, DataError for a column that is not there.
        """
        parquet = self._file(file)
        present = parquet.schema_arrow.names
        if columns is None:
            columns = list(dict.fromkeys([*present, IMAGE])) if FILE_NAME in present else present
        if IMAGE not in columns or IMAGE in present:
            return parquet.read_row_group(index, columns=list(columns))
        stored = [*(name for name in columns if name not in (IMAGE, FILE_NAME)), FILE_NAME]
        table = parquet.read_row_group(index, columns=stored)
        pictures = for_each(self._artifact.read_bytes, table[FILE_NAME].to_pylist())
        return table.append_column(IMAGE, [pictures]).select(list(columns))

    def columns(self, file: str) -> list[str]:
        """Names of a file's columns, pictures in files of their own left out."""
        names: list[str] = self._file(file).schema_arrow.names
        return names

    def groups(self, file: str) -> list[RowGroup]:
        """Every row group of a file, by its footer."""
        footer = self._file(file).metadata
        return [
            RowGroup(file, index, footer.row_group(index).num_rows)
            for index in range(footer.num_row_groups)
        ]

    def tables(self, file: str, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """A whole file, one row group at a time."""
        for group in self.groups(file):
            yield self.read(group, columns)

    def _file(self, name: str) -> pq.ParquetFile:
        if name not in self._files:
            self._files[name] = self._artifact.parquet_file(name)
        return self._files[name]
