"""Whether a dataset's files hold the columns that training reads, by their footers alone.

What `darkroom prepare` published always does. Another writer's files are refused here, by the
driver, where a worker would fail on them again and again.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pyarrow.parquet as pq

from darkroom.errors import DarkroomError, DataError
from darkroom.storage import Artifact

COLUMNS = {"id": "BYTE_ARRAY", "image": "BYTE_ARRAY", "label": "INT64"}
"""Parquet's physical types. Arrow's own would run the code of any registered extension type."""
_ARROW_SCHEMA = b"ARROW:schema"
_EXTENSION = b"ARROW:extension:name"
_FILES_AT_ONCE = 16


def check_columns(dataset: Artifact, num_classes: int | None) -> None:
    """Look at every data file. Errors: DataError naming the file and the column.

    num_classes: labels must be below it; None where they are not used.
    """
    names = [entry.name for entry in dataset.entries("data/")]

    def faults_of(name: str) -> list[str]:
        return list(_faults(dataset, name, num_classes))

    with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
        for name, faults in zip(names, pool.map(faults_of, names), strict=True):
            if faults:
                raise DataError(
                    "input", f"{dataset.uri}", f"{name} {faults[0]}",
                    "prepare it with `darkroom prepare`",
                )  # fmt: skip


def _faults(dataset: Artifact, name: str, num_classes: int | None) -> Iterator[str]:
    try:
        footer = dataset.parquet_file(name).metadata
    except (AttributeError, TypeError, ValueError, KeyError) as error:
        # Where Ray Data is loaded, opening runs the code of its extension types.
        if isinstance(error, DarkroomError):
            raise
        yield f"has a column of an extension type that does not fit it ({error})"
        return
    stored = base64.b64decode((footer.metadata or {}).get(_ARROW_SCHEMA, b""))
    if _EXTENSION in stored:
        yield "has a column of an extension type, which reading would have to trust"
    schema = footer.schema
    columns = {schema.column(index).name: schema.column(index) for index in range(len(schema))}
    for column, wanted in COLUMNS.items():
        if column not in columns:
            yield f"has no column {column}"
        elif columns[column].physical_type != wanted:
            yield f"has {columns[column].physical_type} in its column {column}, not {wanted}"
    if num_classes is not None and "label" in columns:
        yield from _label_faults(footer, list(columns).index("label"), num_classes)


def _label_faults(footer: pq.FileMetaData, column: int, num_classes: int) -> Iterator[str]:
    for index in range(footer.num_row_groups):
        statistics = footer.row_group(index).column(column).statistics
        if statistics is None:
            continue
        if statistics.has_null_count and statistics.null_count:
            yield f"has {statistics.null_count} rows without a label"
        if statistics.has_min_max and not 0 <= statistics.min <= statistics.max < num_classes:
            yield f"has the label {statistics.max} where {num_classes} classes are named"
