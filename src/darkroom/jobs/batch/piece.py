"""Pieces: the input cut into runs of rows, and how one travels through Ray Data.

A piece is *one row* of the Ray dataset: its table as Arrow IPC bytes beside its number. Ray cuts
and bundles blocks by rows, so it can never split a piece or mix two, whatever its version does
with block sizes; packing costs one copy of the bytes.

Which rows make a piece depends on the input alone, never on the machines.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import accumulate, pairwise
from typing import Any

import pyarrow as pa

from darkroom.errors import DataError
from darkroom.jobs.batch.stage import ID
from darkroom.jobs.rejects import Reject

_SCHEMA = pa.schema([("piece", pa.int64()), ("rows", pa.large_binary()), ("state", pa.string())])


@dataclass(slots=True)
class Piece:
    """Some rows on their way, and what has happened to them so far."""

    index: int
    table: pa.Table
    num_rows: int
    """Of the input; stages may leave rows out, or make several of one."""
    rejects: list[Reject] = field(default_factory=list)
    busy_seconds: dict[str, float] = field(default_factory=dict)
    ids_digest: str = ""


def check_ids(rows: pa.Table, *, field_name: str = "input") -> None:
    """Every row has an id of its own. Errors: DataError naming the first that has not."""
    if ID not in rows.column_names:
        raise DataError(field_name, None, f"has no column {ID!r}", "give every row an id")
    column = rows[ID]
    if not pa.types.is_string(column.type):
        raise DataError(field_name, str(column.type), "is the type of id", "make ids strings")
    if column.null_count:
        number = column.is_null().to_pylist().index(True)
        raise DataError(field_name, None, f"row {number} has no id", "give every row an id")
    counts = column.value_counts()
    if len(counts) != len(column):
        double = next(item["values"] for item in counts.to_pylist() if item["counts"] > 1)
        raise DataError(field_name, double, "is the id of more than one row", "make ids unique")


def ids_digest(ids: Iterable[str]) -> str:
    """sha256 (hex) over ids in order."""
    digest = hashlib.sha256()
    for row_id in ids:
        data = row_id.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(4, "big") + data)
    return digest.hexdigest()


def cut(rows: pa.Table, lengths: Iterable[int]) -> Sequence[Piece]:
    """All pieces in order; `lengths` are their rows."""
    starts = [0, *accumulate(lengths)]
    tables = [rows.slice(start, stop - start) for start, stop in pairwise(starts)]
    return [
        Piece(index, table, len(table), ids_digest=ids_digest(table[ID].to_pylist()))
        for index, table in enumerate(tables)
    ]


def even_lengths(num_rows: int, piece_rows: int) -> list[int]:
    """Rows of each piece where all but the last have `piece_rows`."""
    return [min(piece_rows, num_rows - start) for start in range(0, num_rows, piece_rows)]


def pack(piece: Piece) -> pa.Table:
    """The piece as one row; one copy of its bytes."""
    sink = pa.BufferOutputStream()
    table = piece.table.combine_chunks()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    content = sink.getvalue()
    offsets = pa.array([0, content.size], pa.int64()).buffers()[1]
    rows = pa.LargeBinaryArray.from_buffers(pa.large_binary(), 1, [None, offsets, content])
    state = {
        "rejects": [asdict(reject) for reject in piece.rejects],
        "busy_seconds": piece.busy_seconds,
        "ids_digest": piece.ids_digest,
        "num_rows": piece.num_rows,
    }
    return pa.table(
        [pa.array([piece.index], pa.int64()), rows, pa.array([json.dumps(state)])], schema=_SCHEMA
    )


def unpack(packed: pa.Table) -> Piece:
    """The piece in a packed row; its table shares the row's memory and is read-only."""
    content = packed["rows"][0].as_buffer()
    state: dict[str, Any] = json.loads(packed["state"][0].as_py())
    return Piece(
        index=packed["piece"][0].as_py(),
        table=pa.ipc.open_stream(content).read_all(),
        rejects=[Reject(**values) for values in state["rejects"]],
        busy_seconds=state["busy_seconds"],
        ids_digest=state["ids_digest"],
        num_rows=state["num_rows"],
    )
