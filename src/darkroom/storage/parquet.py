"""Parquet over ranged reads, its page checksums verified, its errors ours.

A reader of one row group cannot check the file's sha256, so the pages' CRCs stand in for it:
without them a flipped byte is mostly read as a wrong value. Files that we write have them.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from darkroom.errors import DarkroomError, DataError, IntegrityError


class VerifiedParquetFile(pq.ParquetFile):  # type: ignore[misc]
    """A ParquetFile whose reads raise, naming `where`: IntegrityError on damage, DataError for
    columns that are not there once each (pyarrow leaves out the one and returns both of two)."""

    def __init__(self, source: io.RawIOBase | io.BytesIO, where: str) -> None:
        self._where = where
        try:
            with translated(where):
                super().__init__(source, page_checksum_verification=True)
        except (AttributeError, TypeError, ValueError, KeyError) as error:
            # Where Ray Data is loaded, opening runs the code of its extension types.
            if isinstance(error, DarkroomError):
                raise
            raise self._fault(f"has an extension type that does not fit it ({error})") from None

    def read_row_group(self, *args: Any, **kwargs: Any) -> pa.Table:
        with self._checked(kwargs):
            return super().read_row_group(*args, **kwargs)

    def read_row_groups(self, *args: Any, **kwargs: Any) -> pa.Table:
        with self._checked(kwargs):
            return super().read_row_groups(*args, **kwargs)

    def read(self, *args: Any, **kwargs: Any) -> pa.Table:
        with self._checked(kwargs):
            return super().read(*args, **kwargs)

    def iter_batches(self, *args: Any, **kwargs: Any) -> Iterator[pa.RecordBatch]:
        with self._checked(kwargs):
            yield from super().iter_batches(*args, **kwargs)

    @contextmanager
    def _checked(self, keywords: Mapping[str, Any]) -> Iterator[None]:
        """Of the columns that are read: none missing, none twice, none that runs code."""
        schema = self.schema_arrow
        counts = Counter(schema.names)
        for column in keywords.get("columns") or ():
            if counts[column] != 1:
                found = "two columns" if counts[column] else "no column"
                raise self._fault(f"has {found} {column}")
            if isinstance(schema.field(column).type, pa.BaseExtensionType):
                raise self._fault(f"has a column {column} of an extension type")
        with translated(self._where):
            yield

    def _fault(self, problem: str) -> DataError:
        return DataError("input", self._where, problem, "give what `darkroom` itself published")


def read_table(source: io.BytesIO, where: str) -> pa.Table:
    """A whole file. Errors: IntegrityError naming `where`."""
    with translated(where):
        # Not pq.read_table: its prefetching threads may outlive it, and abort a process that exits.
        return pq.ParquetFile(source).read()


@contextmanager
def translated(where: str) -> Iterator[None]:
    """pyarrow's errors as IntegrityError; our own, from the reads below it, as they are."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, DarkroomError):
            raise
        reason = " ".join(str(error).split())
        raise IntegrityError(f"{where} is damaged or no Parquet file: {reason}") from None
