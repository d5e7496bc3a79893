"""A finished piece as the files that are published: one Parquet part, equal bytes for equal rows.

Imports no ray. Committing the files is the ledger's business (`ledger.py`).
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from darkroom.errors import DarkroomError, IntegrityError
from darkroom.jobs.batch.ledger import Ledger, Record
from darkroom.jobs.batch.piece import Piece
from darkroom.storage import FileEntry
from darkroom.storage.parquet import read_table

FilesOf = Callable[[pa.Table], Iterable[tuple[str, bytes]]]
"""Further files of a piece's finished table: (name in the artifact, bytes)."""


@dataclass(frozen=True, slots=True)
class Committer:
    """Writes a finished piece and commits it. Picklable: the writing tasks carry it."""

    ledger: Ledger
    schema: pa.Schema
    files: FilesOf | None = None

    def commit(self, piece: Piece) -> Record:
        """Errors: DarkroomError when the table is not of the schema; those of storage."""
        contents: list[tuple[str, bytes, int | None]] = []
        num_rows = len(piece.table)
        if num_rows:
            table = in_schema(piece.table, self.schema)
            contents.append((part_name(piece.index), parquet_bytes(table), num_rows))
            if self.files is not None:
                contents += [(name, data, None) for name, data in self.files(table)]
        record = Record(
            piece=piece.index,
            ids_digest=piece.ids_digest,
            num_rows=num_rows + len(piece.rejects),
            files=(),
            rejects=tuple(piece.rejects),
        )
        return self.ledger.commit(record, contents)


def part_name(index: int) -> str:
    """The name of a piece's Parquet part in the artifact."""
    return f"data/part-{index:05d}.parquet"


def in_schema(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table in exactly `schema`, in one chunk. Errors: DarkroomError when it does not fit.

    Only the types' spelling is adapted (string, large_string): no value is rounded or cut.
    """
    if table.column_names != schema.names:
        raise DarkroomError(
            f"the last stage returned the columns {', '.join(table.column_names)} and not"
            f" {', '.join(schema.names)} (this is a fault in Darkroom: report it)"
        )
    try:
        return table.replace_schema_metadata(None).cast(schema).combine_chunks()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        text = " ".join(str(error).split())
        raise DarkroomError(f"the last stage's table does not fit its schema: {text}") from None


def parquet_bytes(table: pa.Table) -> bytes:
    """The table as Parquet, its pages with checksums.

    Binary columns hold pictures, which are compressed already.
    """
    codecs = {field.name: "NONE" if _is_binary(field.type) else "ZSTD" for field in table.schema}
    others = [name for name, codec in codecs.items() if codec != "NONE"]
    sink = io.BytesIO()
    pq.write_table(
        table, sink, compression=codecs, use_dictionary=others, write_statistics=others,
        write_page_checksum=True,
    )  # fmt: skip
    return sink.getvalue()


def read_part(data: bytes, entry: FileEntry, where: str) -> pa.Table:
    """A committed part. Errors: IntegrityError when its bytes are not those committed."""
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        raise IntegrityError(f"{where}/{entry.key} was changed after it was committed")
    return read_table(io.BytesIO(data), f"{where}/{entry.key}")


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
