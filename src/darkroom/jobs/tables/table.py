"""Reads a table of texts: CSV or Parquet, one file, a folder, or what Darkroom published.

Every value is a text; numbers are written as they stand in a CSV, and as Python writes them from
Parquet. A row that cannot be a row of texts (wrong number of fields, bytes that are not UTF-8,
control characters) is named with its line and set aside; the rest goes on. Assumes that the
table fits into the driver's memory: these are subjects and prompts, not pictures.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from darkroom.config import closest
from darkroom.errors import DataError
from darkroom.jobs.rejects import Reject
from darkroom.jobs.tables.csv_rows import read_csv
from darkroom.jobs.tables.encoded import plain_bytes
from darkroom.jobs.tables.files import TableFile, open_table
from darkroom.jobs.tables.parquet_rows import read_parquet
from darkroom.jobs.tables.row import Found, Row, set_aside
from darkroom.storage import Parent

_SHOWN = 12
_PARQUET = re.compile(r"\.(parquet|parq|pq)$", re.IGNORECASE)
_OTHER_FORMATS = (
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook"),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook"),
    (b"PARE", "an encrypted Parquet file"),
    (b"ORC", "an ORC file"),
    (b"Obj\x01", "an Avro file"),
    (b"ARROW1", "an Arrow file"),
    (b"SQLite format 3", "a SQLite database"),
    (b"%PDF", "a PDF file"),
    (b"{", "JSON"),
    (b"[{", "JSON"),
)


@dataclass(frozen=True)
class TextTable:
    """Rows of texts with the columns that every row has."""

    columns: tuple[str, ...]
    rows: Sequence[Row]
    places: Sequence[str]
    """Where each row stands, for messages."""
    parent: Parent
    bad: Sequence[Reject] = field(default=())
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Columns that hold no texts, with their types."""


def read_table(uri: str, rename: Mapping[str, str], *, name: str) -> TextTable:
    """The table at `uri` with its columns renamed. `name`: the config field, for messages.

    Errors: DataError when there is none, columns are missing, doubled or differ between files.
    """
    files, parent = open_table(uri, name)
    first, first_name = None, ""
    rows: list[Row] = []
    places: list[str] = []
    bad: list[Reject] = []
    left_out: dict[str, str] = {}
    for file in files:
        if not file.data and file.parquet is None and len(files) > 1 and not _is_parquet(file):
            continue  # Spark writes a partition without rows as a CSV file without a header
        names, found, others = _read(file, name)
        left_out.update(others)
        added = {column: value for column, value in file.partition.items() if column not in names}
        header = _renamed([*names, *added], rename, file.name, name, left_out)
        columns = tuple(column for column in header if column)
        if first is None:
            first, first_name = columns, file.name
        if set(columns) != set(first):
            raise DataError(name, file.name, *_differing(columns, first, first_name))
        for place, fields in found:
            if isinstance(fields, Reject):
                bad.append(fields)
                continue
            values = [*fields, *added.values()]
            _check_unnamed(header, values, place, name)
            if fault := _fault(place, header, values):
                bad.append(fault)
            else:
                row = dict(zip(header, values, strict=True))
                rows.append({column: row[column] for column in first})
                places.append(place)
    if first is None:
        raise DataError(name, uri, "is empty", "its first line names the columns")
    return TextTable(first, rows, places, parent, bad, left_out)


def unknown_column(
    column: str, known: Sequence[str], left_out: Mapping[str, str] | None = None
) -> tuple[str, str]:
    """What is wrong with the name of a column that is none of the `known`, and the remedy."""
    if left_out and column in left_out:
        kind = left_out[column]
        return f"names {column!r}, a column of {kind}, which is no text", "store it as strings"
    guess = closest(column, known)
    remedy = f"did you mean {guess!r}?" if guess else f"the rows have {_listed(known)}"
    return f"names {column!r}, which is no column", remedy


def _read(file: TableFile, field: str) -> tuple[Sequence[str], Found, Mapping[str, str]]:
    """By the bytes: the name only says that the file belongs to the table."""
    if file.parquet is not None:
        return read_parquet(file.parquet, file=file.name, field=field)
    data = plain_bytes(file.data, field=field, where=file.name)
    if data.startswith(b"PAR1") or _is_parquet(file):
        return read_parquet(data, file=file.name, field=field)
    for magic, what in _OTHER_FORMATS:
        if data.startswith(magic):
            raise DataError(
                field, file.name, f"is {what}, not CSV or Parquet",
                "write the table as CSV (UTF-8) or Parquet",
            )  # fmt: skip
    return (*read_csv(data, file=file.name, field=field), {})


def _is_parquet(file: TableFile) -> bool:
    return _PARQUET.search(file.name) is not None


def _differing(columns: Sequence[str], first: Sequence[str], other: str) -> tuple[str, str]:
    lacks = [column for column in first if column not in columns]
    more = [column for column in columns if column not in first]
    parts = [f"lacks {_listed(lacks)}"] if lacks else []
    parts += [f"has {_listed(more)} besides"] if more else []
    return f"{' and '.join(parts)}, compared with {other}", (
        "give all files the same columns, each with a header line"
    )


def _renamed(
    header: Sequence[str], rename: Mapping[str, str], file: str, name: str,
    left_out: Mapping[str, str],
) -> tuple[str, ...]:  # fmt: skip
    """The header under its new names; "" for a column without one."""
    # As in templates: what macOS wrote and what is typed look alike and must be.
    header = [_nfc(column) for column in header]
    wanted = {_nfc(old): new for old, new in rename.items()}
    for old in wanted:
        if old not in header:
            problem, remedy = unknown_column(old, header, left_out)
            raise DataError(f"{name}: rename", old, f"{problem} of {file}", remedy)
    names = tuple(_nfc(wanted.get(column, column)).strip() for column in header)
    counts = Counter(names)
    for column in counts:
        if not column.isprintable():
            raise DataError(name, column, f"is no name for a column of {file}", "name it")
        if column and counts[column] > 1:
            raise DataError(name, column, f"names two columns of {file}", "rename one of them")
    return names


def _nfc(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _check_unnamed(
    header: Sequence[str], values: Sequence[str | None], place: str, name: str
) -> None:
    """A column without a name is none, as spreadsheets write them, unless a row has it."""
    for number, (column, value) in enumerate(zip(header, values, strict=True), 1):
        if not column and value is not None:
            raise DataError(
                name, column, f"is no name for a column ({place} holds {_shown(value)} in its "
                f"column {number})", "name it, or write the table without its index",
            )  # fmt: skip


def _fault(place: str, header: Sequence[str], values: Sequence[str | None]) -> Reject | None:
    for column, value in zip(header, values, strict=True):
        if value is None or value.isprintable():
            continue
        if any("\ud800" <= c <= "\udfff" for c in value):
            return set_aside(
                place, "encoding", f"{column} is not valid UTF-8: {_in_windows(value)}"
            )
        control = next(
            (c for c in value if unicodedata.category(c) == "Cc" and c not in "\t\r\n"), ""
        )
        if control:
            return set_aside(place, "control", f"{column} holds the control character {control!a}")
    return None


def _in_windows(value: str) -> str:
    """The bytes, and how Windows would read them: mostly it wrote them."""
    try:
        text = value.encode("utf-8", "surrogateescape").decode("cp1252")
    except UnicodeError:
        return f"{_shown(value)}; save the file as UTF-8"
    return f"{_shown(value)} ({text[:60]!r} in Windows-1252); save the file as UTF-8"


def _shown(value: str) -> str:
    return ascii(value[:60]) + ("..." if len(value) > 60 else "")


def _listed(columns: Sequence[str]) -> str:
    more = f" and {len(columns) - _SHOWN} more" if len(columns) > _SHOWN else ""
    return ", ".join(columns[:_SHOWN]) + more or "none"
