"""Committed pieces to the files that are published: as large as wanted, whatever a piece holds.

    commits of pieces, in order -> groups by their real sizes -> one Parquet file each, committed

A group is a run of pieces of one folder. Sizes are those of committed files, which are equal bytes
whenever a piece is done again, so the groups depend on the rows alone: neither CPUs nor kills
change a byte. Merging is a second round of the same core: what is merged is committed, and not
merged again. Rows keep their order; a file's row groups are cut anew, across the pieces.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from darkroom.jobs.batch.commits import Commit, CommitLog, PieceFile
from darkroom.jobs.batch.committer import part_name, read_part
from darkroom.jobs.batch.piece import Piece, ids_digest
from darkroom.jobs.parquet import is_binary, open_parquet
from darkroom.storage import FileEntry, open_store
from darkroom.temporary import temporary_folder

MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Folder:
    """Where the rows of some pieces belong; no file holds rows of two folders."""

    name: str
    """In the artifact: data/train."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Of each of its files."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Bounds on files and on their row groups."""

    file_mb: int
    """Target size of a file; only a single piece may be larger."""
    row_group_rows: int
    row_group_mb: int
    """Of the binary columns; only a single row may be larger."""


@dataclass(frozen=True, slots=True)
class Group:
    """Pieces that make one file."""

    folder: Folder
    index: int
    """Among the files of its folder."""
    parts: Sequence[FileEntry]


def group_pieces(
    commits: Iterable[Commit], folders: Sequence[Folder], *, file_mb: int
) -> Iterator[Group]:
    """Consecutive pieces of one folder, up to `file_mb` a file. `folders`: by piece."""
    folder: Folder | None = None
    index = num_bytes = 0
    pending: list[FileEntry] = []
    for commit in commits:
        if not commit.files:
            continue
        part, mine = commit.files[0], folders[commit.piece]
        is_full = num_bytes + part.size > file_mb * MB
        if folder is not None and pending and (mine != folder or is_full):
            yield Group(folder, index, pending)
            index = index + 1 if mine == folder else 0
            pending, num_bytes = [], 0
        folder = mine
        pending.append(part)
        num_bytes += part.size
    if folder is not None and pending:
        yield Group(folder, index, pending)


def merging_pieces(groups: Iterable[Group]) -> list[Piece]:
    """The groups as pieces of the second round: a row is a file to read."""
    pieces = []
    for index, group in enumerate(groups):
        rows = [
            {"id": part.name, "key": part.key, "size": part.size, "sha256": part.sha256}
            for part in group.parts
        ]
        digest = ids_digest(part.sha256 for part in group.parts)
        pieces.append(Piece(index, pa.Table.from_pylist(rows), len(rows), ids_digest=digest))
    return pieces


@dataclass(frozen=True, slots=True)
class Merger:
    """Reads the parts of a group, writes their file and commits it. Needs memory for one part."""

    log: CommitLog
    layout: Layout
    names: Sequence[tuple[str, Mapping[str, Any]]]
    """Name and metadata of each group's file."""

    def commit(self, piece: Piece) -> Commit:
        """Errors: IntegrityError for a part that was changed; those of storage."""
        name, metadata = self.names[piece.index]
        with temporary_folder() as folder:
            path = folder / "merged.parquet"
            row_groups = self._write(path, piece)
            file = PieceFile(name, path, sum(row_groups), {**metadata, "row_groups": row_groups})
            done = Commit(piece.index, piece.ids_digest, piece.num_rows, (), ())
            return self.log.commit(done, [file])

    def _write(self, path: Path, piece: Piece) -> list[int]:
        """Rows of each row group."""
        row_groups = []
        tables = self._row_groups(self._tables(piece))
        first = next(tables)
        with open_parquet(path, first.schema) as parquet:
            for table in (first, *tables):
                parquet.write_table(table, row_group_size=len(table))
                row_groups.append(len(table))
        return row_groups

    def _tables(self, piece: Piece) -> Iterator[pa.Table]:
        store = open_store(self.log.writer.output)
        for row in piece.table.to_pylist():
            entry = FileEntry(row["id"], row["key"], row["size"], row["sha256"])
            yield read_part(store.get(entry.key), entry, str(self.log.writer.output))

    def _row_groups(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """The rows cut by the layout's bounds, wherever one table ends and the next begins."""
        pending: list[pa.Table] = []
        num_rows = num_bytes = 0
        for table in tables:
            start = 0
            for at, size in enumerate(binary_sizes(table)):
                is_full = num_bytes + size > self.layout.row_group_mb * MB
                if num_rows == self.layout.row_group_rows or (num_rows and is_full):
                    pending.append(table.slice(start, at - start))
                    yield pa.concat_tables(pending)
                    pending, start, num_rows, num_bytes = [], at, 0, 0
                num_rows += 1
                num_bytes += size
            pending.append(table.slice(start))
        yield pa.concat_tables(pending)


def merger(log: CommitLog, layout: Layout, groups: Sequence[Group]) -> Merger:
    """What commits the pieces that `merging_pieces` makes of the groups."""
    names = [(part_name(group.folder.name, group.index), group.folder.metadata) for group in groups]
    return Merger(log, layout, names)


def binary_sizes(table: pa.Table) -> list[int]:
    """Bytes of each row in the table's binary columns."""
    columns = [table[item.name] for item in table.schema if is_binary(item.type)]
    sizes = [pc.binary_length(column).to_pylist() for column in columns]
    return [sum(size or 0 for size in row) for row in zip(*sizes, strict=True)] or [0] * len(table)
