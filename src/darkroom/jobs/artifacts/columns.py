"""Whether a dataset's files hold the columns that verbs read, by their footers alone.

What `darkroom prepare` published always does. Another writer's files are refused here, by the
driver, where a worker would fail on them again and again, or read labels that mean nothing.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor

import pyarrow.parquet as pq

from darkroom.errors import DataError
from darkroom.storage import Artifact

COLUMNS = {
    "id": "BYTE_ARRAY", "image": "BYTE_ARRAY", "label": "INT64", "caption": "BYTE_ARRAY"
}  # fmt: skip
"""Parquet's physical types. Arrow's own would run the code of any registered extension type."""
_ARROW_SCHEMA = b"ARROW:schema"
_EXTENSION = b"ARROW:extension:name"
_FILES_AT_ONCE = 16


def check_columns(
    dataset: Artifact,
    num_classes: int | None,
    *,
    field: str,
    columns: Collection[str] = ("id", "image", "label"),
    labelled: bool = True,
) -> None:
    """Look at every data file. Errors: DataError naming `field`, the file and the column.

    num_classes: labels must be below it; None where they are not used. columns: those that are
    read. labelled: each row must have a label.
    """
    names = [entry.name for entry in dataset.entries("data/")]

    def faults_of(name: str) -> list[str]:
        return list(_faults(dataset, name, num_classes, columns, labelled=labelled))

    with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
        for name, faults in zip(names, pool.map(faults_of, names), strict=True):
            if faults:
                raise DataError(
                    field, f"{dataset.uri}", f"{name} {faults[0]}",
                    "prepare it with `darkroom prepare`",
                )  # fmt: skip


def _faults(
    dataset: Artifact,
    name: str,
    num_classes: int | None,
    columns: Collection[str],
    *,
    labelled: bool,
) -> Iterator[str]:
    footer = dataset.parquet_file(name).metadata
    stored = base64.b64decode((footer.metadata or {}).get(_ARROW_SCHEMA, b""))
    if _EXTENSION in stored:
        yield "has a column of an extension type, which reading would have to trust"
    leaves = [footer.schema.column(index) for index in range(len(footer.schema))]
    # A leaf's name alone may be that of a field deep inside another column.
    paths = [leaf.path for leaf in leaves]
    for column in columns:
        wanted = COLUMNS[column]
        types = [leaf.physical_type for leaf in leaves if leaf.path == column]
        if any(path.startswith(f"{column}.") for path in paths):
            yield f"has a nested column {column}, not {wanted}"
        elif len(types) != 1:
            yield f"has {'two columns' if types else 'no column'} {column}"
        elif types != [wanted]:
            yield f"has {types[0]} in its column {column}, not {wanted}"
            return  # its statistics are of that type
    if num_classes is not None and paths.count("label") == 1:
        yield from _label_faults(footer, paths.index("label"), num_classes, labelled=labelled)


def _label_faults(
    footer: pq.FileMetaData, column: int, num_classes: int, *, labelled: bool
) -> Iterator[str]:
    for index in range(footer.num_row_groups):
        statistics = footer.row_group(index).column(column).statistics
        if statistics is None:
            continue
        if labelled and statistics.has_null_count and statistics.null_count:
            yield f"has {statistics.null_count} rows without a label"
        if statistics.has_min_max and not 0 <= statistics.min <= statistics.max < num_classes:
            wrong = statistics.min if statistics.min < 0 else statistics.max
            yield f"has the label {wrong} where {num_classes} classes are named"
