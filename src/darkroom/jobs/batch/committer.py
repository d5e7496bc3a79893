"""A finished piece as the files that are published: one Parquet file, equal bytes for equal rows.

Imports no ray.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from darkroom.errors import IntegrityError
from darkroom.jobs.batch.commits import Commit, CommitLog, PieceFile
from darkroom.jobs.batch.piece import Piece
from darkroom.jobs.parquet import in_schema, parquet_bytes
from darkroom.storage import FileEntry
from darkroom.storage.parquet import read_table

FilesOf = Callable[[pa.Table], Iterable[PieceFile]]
"""Further files of a piece, from the last stage's table. Columns that are not of the published
schema are for them alone."""


class Commits(Protocol):
    """Makes a piece's files and commits them. Picklable: the writing tasks carry it."""

    def commit(self, piece: Piece, /) -> Commit:
        """The commit that counts; another's when the piece was committed meanwhile."""


@dataclass(frozen=True, slots=True)
class Committer:
    """Commits the table of a piece that has passed all stages."""

    log: CommitLog
    schema: pa.Schema
    files: FilesOf | None = None
    note: Callable[[pa.Table], Mapping[str, Any]] | None = None
    """What to note of a piece in its commit, from the last stage's table, as `files`."""

    def commit(self, piece: Piece) -> Commit:
        """Errors: DarkroomError when the table is not of the schema; those of storage."""
        files: list[PieceFile] = []
        notes: Mapping[str, Any] = {}
        num_rows = len(piece.table)
        if num_rows:
            table = in_schema(piece.table, self.schema)
            notes = self.note(piece.table) if self.note is not None else {}
            name = part_name("data", piece.index)
            files.append(PieceFile(name, parquet_bytes(table), num_rows))
            files += self.files(piece.table) if self.files is not None else ()
        return self.log.commit(
            Commit(piece.index, piece.ids_digest, piece.num_rows, (), tuple(piece.rejects), notes),
            files,
        )


def part_name(folder: str, index: int) -> str:
    """The name of a Parquet file in the artifact."""
    return f"{folder}/part-{index:05d}.parquet"


def read_part(data: bytes, entry: FileEntry, where: object) -> pa.Table:
    """A committed Parquet file. Errors: IntegrityError when its bytes are not those committed."""
    return read_table(io.BytesIO(verified(data, entry, where)), f"{where}/{entry.key}")


def verified(data: bytes, entry: FileEntry, where: object) -> bytes:
    """The bytes of a committed file. Errors: IntegrityError when they are not those committed."""
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        raise IntegrityError(f"{where}/{entry.key} was changed after it was committed")
    return data
