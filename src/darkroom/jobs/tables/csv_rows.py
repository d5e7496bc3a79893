"""Rows of a CSV file from outside: the delimiter by its header, every value a text.

A comma separates unless the header has no comma and another delimiter splits it; in a `.tsv` a tab
is tried first. Empty lines and rows of nothing but delimiters are no rows, and empty fields beyond
the header no fields.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import Any

from darkroom.errors import DataError
from darkroom.jobs.tables.encoded import decoded
from darkroom.jobs.tables.row import Found, set_aside

MAX_FIELD_CHARS = 16 * 1024**2

_DELIMITERS = ",\t;|"
_EXCELS_LINE = re.compile(r'"?sep=([^"\r\n])"?\r?\n')
_NEVER_CLOSED = "unexpected end of data"
_TOO_LONG = "field larger than field limit"


def read_csv(data: bytes, *, file: str, field: str) -> tuple[Sequence[str], Found]:
    """The header and the rows. Errors: DataError for what is no CSV as a whole."""
    text = io.StringIO(decoded(data, field=field, where=file), newline="")
    csv.field_size_limit(MAX_FIELD_CHARS)
    delimiter = _delimiter(text, file)
    text.seek(0)
    reader = csv.reader(text, strict=True, delimiter=delimiter)
    if _EXCELS_LINE.fullmatch(text.readline()):
        text.seek(0)
        next(reader)
    else:
        text.seek(0)
    header = next((row for row in _checked(reader, file, field) if any(row)), None)
    if header is None:
        raise DataError(field, file, "is empty", "its first line names the columns")
    if any("\ud800" <= c <= "\udfff" for column in header for c in column):
        raise DataError(
            field, file, "is not UTF-8: its header holds other bytes",
            "save it as UTF-8 (Excel: CSV UTF-8)",
        )  # fmt: skip
    return header, _rows(reader, len(header), file, field)


def _delimiter(text: io.StringIO, file: str) -> str:
    """What separates the header's fields."""
    first_line = text.readline()
    if found := _EXCELS_LINE.fullmatch(first_line):
        return found[1]
    usual = "\t" if re.search(r"\.(tsv|tab)\b", file, re.IGNORECASE) else ","
    widths = {}
    for delimiter in (usual, *_DELIMITERS):
        text.seek(0)
        try:
            widths[delimiter] = len(next(csv.reader(text, strict=True, delimiter=delimiter), ()))
        except csv.Error:  # a quoted header, split by another delimiter
            widths[delimiter] = 0
    return usual if widths[usual] > 1 else max(widths, key=lambda delimiter: widths[delimiter])


def _rows(reader: Any, num_columns: int, file: str, field: str) -> Found:
    line = reader.line_num + 1
    for values in _checked(reader, file, field):
        place, line = f"{file} line {line}", reader.line_num + 1
        texts = [value.strip() or None for value in values]
        while len(texts) > num_columns and texts[-1] is None:
            texts.pop()
        if not any(texts):
            continue
        if len(texts) != num_columns:
            fields = f"{len(texts)} fields, the header has {num_columns}"
            yield place, set_aside(place, "fields", fields)
        else:
            yield place, texts


def _checked(reader: Any, file: str, field: str) -> Iterator[Sequence[str]]:
    """The reader's rows, its errors ours."""
    while True:
        line = reader.line_num + 1
        try:
            values: Sequence[str] = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(field, f"{file} line {line}", *_fault(str(error))) from None
        yield values


def _fault(error: str) -> tuple[str, str]:
    if error.startswith(_NEVER_CLOSED):
        return "is not CSV (a quote that opens in this row is never closed)", (
            "close it, or double a quote that is part of a value and quote the value"
        )
    if error.startswith(_TOO_LONG):
        return f"is not CSV (a field of more than {MAX_FIELD_CHARS:,} characters)", (
            "close the quote that was left open, or shorten the field"
        )
    return f"is not CSV ({error})", (
        "quote fields that hold quotes or line ends, and double the quotes inside"
    )
