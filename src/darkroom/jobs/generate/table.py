"""Reads a table of texts: CSV or Parquet, one file, a folder, or what Darkroom published.

Every value is a text; numbers are written as they stand in a CSV, and as Python writes them from
Parquet. A row that cannot be a row of texts (wrong number of fields, bytes that are not UTF-8,
control characters) is named with its line and set aside; the rest goes on. Assumes that the
table fits into the driver's memory: these are subjects and prompts, not pictures.
"""

from __future__ import annotations

import csv
import hashlib
import io
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from darkroom.config import closest, json_digest
from darkroom.errors import DataError, ObjectNotFoundError
from darkroom.storage import Parent, Uri, open_artifact, open_store, parse_uri

Row = dict[str, str | None]

MAX_FIELD_CHARS = 16 * 1024**2
MAX_FILE_BYTES = 2 * 1024**3
_SUFFIXES = (".csv", ".parquet")


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that was set aside."""

    where: str
    """File and line, or file and row."""
    reason: str
    detail: str
    stage: str = "read"


@dataclass(frozen=True)
class TextTable:
    """Rows of texts with the columns that every row has."""

    columns: tuple[str, ...]
    rows: Sequence[Row]
    places: Sequence[str]
    """Where each row stands, for messages."""
    parent: Parent
    bad: Sequence[BadRow] = field(default=())


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    data: bytes = b""
    parquet: pq.ParquetFile | None = None
    """Read by ranges: a published table may hold pictures beside its texts."""


def read_table(uri: str, rename: Mapping[str, str], *, name: str) -> TextTable:
    """The table at `uri` with its columns renamed. `name`: the config field, for messages.

    Errors: DataError when there is none, columns are missing, doubled or differ between files.
    """
    files, parent = _open(uri, name)
    columns: tuple[str, ...] | None = None
    rows: list[Row] = []
    places: list[str] = []
    bad: list[BadRow] = []
    for file in files:
        read = _read_csv if file.name.endswith(".csv") else _read_parquet
        names, found = read(file, name)
        header = _renamed(names, rename, file.name, name)
        if columns is not None and header != columns:
            raise DataError(
                name, file.name, f"has the columns {_listed(header)}, other files "
                f"{_listed(columns)}", "give all files the same columns",
            )  # fmt: skip
        columns = header
        for place, values in found:
            if isinstance(values, BadRow):
                bad.append(values)
            elif fault := _fault(place, header, values):
                bad.append(fault)
            else:
                rows.append(dict(zip(header, values, strict=True)))
                places.append(place)
    return TextTable(columns or (), rows, places, parent, bad)


def _open(uri: str, name: str) -> tuple[list[_File], Parent]:
    """The files to read, by name, and the digest of all of them."""
    root = parse_uri(uri, field=name)
    if root.key.endswith(_SUFFIXES):
        data = open_store(root.parent).get(root.name)
        return [_File(root.name, data)], Parent(
            "source", str(root), hashlib.sha256(data).hexdigest(), "table"
        )
    try:
        artifact = open_artifact(root)
    except ObjectNotFoundError:
        return _open_folder(root, name)
    names = [e.name for e in artifact.entries("data/") if e.name.endswith(_SUFFIXES)]
    if not names:
        raise DataError(
            name, uri, f"is a {artifact.manifest.kind} without a table below data/",
            "give the output of prepare, classify or generate, or a CSV or Parquet file",
        )  # fmt: skip
    files = [
        _File(n, parquet=artifact.parquet_file(n))
        if n.endswith(".parquet")
        else _File(n, artifact.read_bytes(n))
        for n in names
    ]
    return files, artifact.as_parent("data")


def _open_folder(root: Uri, name: str) -> tuple[list[_File], Parent]:
    store = open_store(root)
    infos = sorted(
        (info for info in store.list() if info.key.endswith(_SUFFIXES)), key=lambda info: info.key
    )
    if not infos:
        raise DataError(
            name, str(root), "holds no .csv or .parquet file",
            "check its spelling with darkroom storage ls",
        )  # fmt: skip
    if sum(info.size for info in infos) > MAX_FILE_BYTES:
        raise DataError(
            name, str(root), "holds more than 2 GiB of tables",
            "split it: prompts are read on the driver",
        )  # fmt: skip
    files = [_File(info.key, store.get(info.key)) for info in infos]
    digest = json_digest([[f.name, hashlib.sha256(f.data).hexdigest()] for f in files])
    return files, Parent("source", str(root), digest, "table")


Found = Iterator[tuple[str, "Sequence[str | None] | BadRow"]]


def _read_csv(file: _File, name: str) -> tuple[list[str], Found]:
    # Bytes that are no UTF-8 become lone surrogates, which the check of each value finds.
    text = file.data.decode("utf-8-sig", "surrogateescape")
    csv.field_size_limit(MAX_FIELD_CHARS)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(reader, None)
    except csv.Error as error:
        raise _broken(file, 1, error, name) from None
    if not header:
        raise DataError(name, file.name, "is empty", "its first line names the columns")
    return header, _csv_rows(reader, len(header), file, name)


def _csv_rows(reader: csv.Reader, num_columns: int, file: _File, name: str) -> Found:  # type: ignore[name-defined]
    while True:
        place = f"{file.name} line {reader.line_num + 1}"
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise _broken(file, reader.line_num, error, name) from None
        if not values:  # an empty line is no row
            continue
        if len(values) != num_columns:
            fields = f"{len(values)} fields, the header has {num_columns}"
            yield place, BadRow(place, "fields", fields)
        else:
            yield place, [value.strip() or None for value in values]


def _broken(file: _File, line: int, error: csv.Error, name: str) -> DataError:
    return DataError(
        name, f"{file.name} line {line}", f"is not CSV ({error})",
        "quote fields that hold quotes or line ends, and double the quotes inside",
    )  # fmt: skip


def _read_parquet(file: _File, name: str) -> tuple[list[str], Found]:
    try:
        source = file.parquet or pq.ParquetFile(io.BytesIO(file.data))
        # Pictures of a prepared table are not texts; nested values neither.
        kept = [field.name for field in source.schema_arrow if not _is_opaque(field.type)]
        table = source.read(columns=kept)
    except (pa.ArrowException, OSError) as error:
        reason = (str(error).splitlines() or ["?"])[0]
        raise DataError(name, file.name, f"is no Parquet file ({reason})") from None
    columns = [_texts(table[column]) for column in kept]
    rows = zip(*columns, strict=True) if columns else ()
    places = (f"{file.name} row {number}" for number in range(1, len(table) + 1))
    return kept, ((place, list(row)) for place, row in zip(places, rows, strict=False))


def _is_opaque(kind: pa.DataType) -> bool:
    tests = (pa.types.is_nested, pa.types.is_binary, pa.types.is_large_binary)
    return any(test(kind) for test in tests)


def _texts(column: pa.ChunkedArray) -> list[str | None]:
    """Arrow does not check that its strings are UTF-8, so they are decoded here."""
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        raw = column.cast(pa.large_binary()).to_pylist()
        texts = [None if v is None else v.decode("utf-8", "surrogateescape") for v in raw]
        return [text and (text.strip() or None) for text in texts]
    return [None if v is None else str(v) for v in column.to_pylist()]


def _renamed(
    header: Sequence[str], rename: Mapping[str, str], file: str, name: str
) -> tuple[str, ...]:
    for wanted in rename:
        if wanted not in header:
            guess = closest(wanted, header)
            raise DataError(
                f"{name}: rename", wanted, f"is no column of {file}",
                f"did you mean {guess!r}?" if guess else f"it has {_listed(header)}",
            )  # fmt: skip
    names = tuple(rename.get(column, column).strip() for column in header)
    for column in names:
        if not column or not column.isprintable():
            raise DataError(name, column, f"is no name for a column of {file}", "name it")
        if names.count(column) > 1:
            raise DataError(name, column, f"names two columns of {file}", "rename one of them")
    return names


def _fault(place: str, header: Sequence[str], values: Sequence[str | None]) -> BadRow | None:
    for column, value in zip(header, values, strict=True):
        if value is None:
            continue
        if any("\ud800" <= c <= "\udfff" for c in value):
            return BadRow(place, "encoding", f"{column} is not valid UTF-8: {_shown(value)}")
        control = next(
            (c for c in value if unicodedata.category(c) == "Cc" and c not in "\t\r\n"), ""
        )
        if control:
            return BadRow(place, "control", f"{column} holds the control character {control!a}")
    return None


def _shown(value: str) -> str:
    return ascii(value[:60]) + ("..." if len(value) > 60 else "")


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(columns) or "none"
