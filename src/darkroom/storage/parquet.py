"""Parquet over ranged reads, its page checksums verified, its errors ours.

A reader of one row group cannot check the file's sha256, so the pages' CRCs stand in for it:
without them a flipped byte is mostly read as a wrong value. Files that we write have them.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from darkroom.errors import DarkroomError, IntegrityError


class VerifiedParquetFile(pq.ParquetFile):  # type: ignore[misc]
    """A ParquetFile whose reads raise IntegrityError, naming `where`, on damage."""

    def __init__(self, source: io.RawIOBase | io.BytesIO, where: str) -> None:
        self._where = where
        with translated(where):
            super().__init__(source, page_checksum_verification=True)

    def read_row_group(self, *args: Any, **kwargs: Any) -> pa.Table:
        with translated(self._where):
            return super().read_row_group(*args, **kwargs)

    def read_row_groups(self, *args: Any, **kwargs: Any) -> pa.Table:
        with translated(self._where):
            return super().read_row_groups(*args, **kwargs)

    def read(self, *args: Any, **kwargs: Any) -> pa.Table:
        with translated(self._where):
            return super().read(*args, **kwargs)

    def iter_batches(self, *args: Any, **kwargs: Any) -> Iterator[pa.RecordBatch]:
        with translated(self._where):
            yield from super().iter_batches(*args, **kwargs)


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
