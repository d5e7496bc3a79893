"""A finished piece as Parquet: exactly the schema, equal bytes for equal rows."""

from __future__ import annotations

import hashlib

import pyarrow as pa
import pytest

from darkroom.errors import DarkroomError, IntegrityError
from darkroom.jobs.batch.committer import read_part
from darkroom.jobs.parquet import in_schema, parquet_bytes
from darkroom.storage import FileEntry

SCHEMA = pa.schema([pa.field("id", pa.string(), nullable=False), ("x", pa.int32())])


def test_bytes_do_not_depend_on_how_the_table_came_about() -> None:
    whole = pa.table({"id": ["a", "b", "c"], "x": [1, 2, None]})
    pieces = pa.concat_tables([whole.slice(0, 1), whole.slice(1, 2)])
    marked = pieces.replace_schema_metadata({"host": "here"})
    assert parquet_bytes(in_schema(whole, SCHEMA)) == parquet_bytes(in_schema(marked, SCHEMA))


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"id": ["a"]}),
        pa.table({"id": ["a"], "x": [2**40]}),
        pa.table({"id": ["a"], "x": ["one"]}),
        pa.table({"id": ["a"], "x": [1.5]}),
    ],
    ids=["missing", "too large", "text", "rounded"],
)
def test_a_table_that_does_not_fit_is_no_silent_cast(table: pa.Table) -> None:
    with pytest.raises(DarkroomError, match="the last stage"):
        in_schema(table, SCHEMA)


def test_columns_beyond_the_schema_are_left_out() -> None:
    table = in_schema(pa.table({"pixels": [b"p"], "x": [1], "id": ["a"]}), SCHEMA)
    assert table.equals(in_schema(pa.table({"id": ["a"], "x": [1]}), SCHEMA))


def test_a_part_is_read_back_verified() -> None:
    table = in_schema(pa.table({"id": ["a"], "x": [1]}), SCHEMA)
    data = parquet_bytes(table)
    entry = FileEntry("part", "key", len(data), hashlib.sha256(data).hexdigest(), 1)
    assert read_part(data, entry, "here").equals(table)
    with pytest.raises(IntegrityError, match="changed after it was committed"):
        read_part(data[:-1] + b"x", entry, "here")
