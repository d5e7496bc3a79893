"""Rows of a Parquet file from outside, every value a text.

Columns that hold no texts (pictures, lists, extension types) are left out and named with their
type. Nothing is unpickled: an extension type's values are never looked at.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.parquet as pq

from darkroom.errors import DarkroomError, DataError
from darkroom.jobs.tables.row import Found
from darkroom.messages import first_line


def read_parquet(
    source: bytes | pq.ParquetFile, *, file: str, field: str
) -> tuple[list[str], Found, Mapping[str, str]]:
    """Header, rows, and the columns that were left out with their types.

    Errors: DataError for what is no Parquet file, or has a column twice.
    """
    try:
        if isinstance(source, bytes):
            source = pq.ParquetFile(io.BytesIO(source))
        types = {column.name: _plain(column.type) for column in source.schema_arrow}
        _check_names(source.schema_arrow.names, file, field)
        kept = [name for name, kind in types.items() if not _is_opaque(kind)]
        table = source.read(columns=kept)
        columns = [texts(table[name], name, file, field) for name in kept]
    except (pa.ArrowException, OSError, AttributeError, TypeError, KeyError, ValueError) as error:
        if isinstance(error, DarkroomError):
            raise
        # What an extension type's own code makes of a file that lies of it is any of these.
        reason = first_line(error)
        raise DataError(
            field, file, f"is no Parquet file that can be read ({reason})",
            "write or download it again",
        ) from None  # fmt: skip
    rows = zip(*columns, strict=True) if columns else ()
    found = ((f"{file} row {n}", list(row)) for n, row in enumerate(rows, 1))
    left_out = {name: str(kind) for name, kind in types.items() if name not in kept}
    return kept, ((place, row) for place, row in found if any(row)), left_out


def _check_names(names: list[str], file: str, field: str) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(field, twice[0], f"names two columns of {file}", "rename one of them")


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type of a dictionary's values."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_opaque(kind: pa.DataType) -> bool:
    tests = (
        pa.types.is_nested,
        pa.types.is_binary,
        pa.types.is_large_binary,
        pa.types.is_fixed_size_binary,
        pa.types.is_binary_view,
    )
    return isinstance(kind, pa.BaseExtensionType) or any(test(kind) for test in tests)


def texts(column: pa.ChunkedArray, name: str, file: str, field: str) -> list[str | None]:
    """Arrow does not check that its strings are UTF-8, so they are decoded here."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    if any(test(kind) for test in tests):
        raw = column.cast(pa.large_binary()).to_pylist()
        texts = [None if v is None else v.decode("utf-8", "surrogateescape") for v in raw]
        return [text and (text.strip() or None) for text in texts]
    try:
        return [None if v is None else str(v) for v in column.to_pylist()]
    except (ValueError, OverflowError, pa.ArrowException) as error:
        raise DataError(
            field, file, f"has a {kind} in its column {name} that cannot be written ({error})",
            "store the column as strings",
        ) from None  # fmt: skip
