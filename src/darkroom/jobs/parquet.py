"""A table as the Parquet bytes that verbs publish: equal bytes for equal rows."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from darkroom.errors import DarkroomError


def parquet_bytes(table: pa.Table) -> bytes:
    """The table as Parquet, in one row group."""
    sink = pa.BufferOutputStream()  # a BytesIO takes three times as long
    with open_parquet(sink, table.schema) as parquet:
        parquet.write_table(table, row_group_size=max(len(table), 1))
    return bytes(sink.getvalue())


def open_parquet(sink: Path | pa.NativeFile, schema: pa.Schema) -> pq.ParquetWriter:
    """A writer whose pages have checksums, which ranged readers verify.

    Binary columns hold pictures: compressed already, and statistics of them are dead weight.
    """
    codecs = {field.name: "NONE" if is_binary(field.type) else "ZSTD" for field in schema}
    others = [name for name, codec in codecs.items() if codec != "NONE"]
    return pq.ParquetWriter(
        sink, schema, compression=codecs, use_dictionary=others, write_statistics=others,
        write_page_checksum=True,
    )  # fmt: skip


def in_schema(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table's columns of `schema`, in one chunk. Errors: DarkroomError when they do not fit.

    Only the types' spelling is adapted (string, large_string): no value is rounded or cut.
    """
    if missing := [name for name in schema.names if name not in table.column_names]:
        raise DarkroomError(
            f"the last stage returned the columns {', '.join(table.column_names)}, without"
            f" {', '.join(missing)} (this is a fault in Darkroom: report it)"
        )
    try:
        table = table.select(schema.names).replace_schema_metadata(None)
        return table.cast(schema).combine_chunks()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        text = " ".join(str(error).split())
        raise DarkroomError(f"the last stage's table does not fit its schema: {text}") from None


def is_binary(kind: pa.DataType) -> bool:
    """Of either size of offset."""
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
