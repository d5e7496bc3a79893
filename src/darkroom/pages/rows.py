"""Rows of a table that show themselves in a notebook, with their pictures as pictures."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any, overload

import pyarrow as pa
from PIL import Image

from darkroom.pages.gallery import picture_uri

MAX_SHOWN = 20
_MAX_TEXT = 300
_CELL = "text-align:left;vertical-align:middle;padding:2px 12px 2px 0"


class TableRows(Sequence[dict[str, Any]]):
    """The rows of an Arrow table, as dictionaries; a slice is rows again."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        names: list[str] = self._table.column_names
        return names

    def column(self, name: str) -> list[Any]:
        """All values of one column."""
        values: list[Any] = self._table[name].to_pylist()
        return values

    def pictures(self, column: str = "image") -> list[Image.Image]:
        """The decoded pictures of a column that holds encoded ones."""
        return [Image.open(io.BytesIO(data)) for data in self.column(column) if data is not None]

    def to_arrow(self) -> pa.Table:
        """The table itself, which pandas and Polars take as it is."""
        return self._table

    def __len__(self) -> int:
        return int(self._table.num_rows)

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> TableRows: ...
    def __getitem__(self, index: int | slice) -> dict[str, Any] | TableRows:
        chosen = range(len(self))[index]
        if isinstance(chosen, range):
            return TableRows(self._table.take(pa.array(chosen, pa.int64())))
        row: dict[str, Any] = self._table.slice(chosen, 1).to_pylist()[0]
        return row

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self._table.to_batches():
            yield from batch.to_pylist()

    def __repr__(self) -> str:
        return f"{len(self):,} rows of {', '.join(self.columns)}"

    def _repr_html_(self) -> str:
        heads = "".join(f'<th style="{_CELL}">{escape(name)}</th>' for name in self.columns)
        body = "".join(f"<tr>{_cells(row)}</tr>" for row in self[:MAX_SHOWN])
        more = len(self) - MAX_SHOWN
        rest = f"<p>and {more:,} more rows</p>" if more > 0 else ""
        return f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>{rest}"


def _cells(row: dict[str, Any]) -> str:
    return "".join(f'<td style="{_CELL}">{_shown(value)}</td>' for value in row.values())


def _shown(value: object) -> str:
    """One value as HTML: a picture, a number with four digits, a bounded text."""
    if isinstance(value, bytes):
        return _picture(value)
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(_shown(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{escape(str(key))}: {_shown(item)}" for key, item in value.items())
    text = "" if value is None else str(value)
    return escape(text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}…")


def _picture(data: bytes) -> str:
    try:
        uri = picture_uri(data, max_pixels=96)
    except OSError:  # other bytes than a picture's
        return f"{len(data):,} bytes"
    return f'<img src="{uri}" alt="" style="height:48px;image-rendering:pixelated;margin:0">'
