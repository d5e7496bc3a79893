"""Rows to Parquet files: how blocks are grouped into files, and one file written in a task.

A file holds rows of one split, in the order of the plan. Its row groups are bounded by rows and
by bytes, and listed in the file's metadata, since training permutes them without opening files.
Parquet pages carry checksums, which ranged readers verify.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from darkroom.jobs.pictures.config import Split
from darkroom.jobs.pictures.rejects import DEAD_SCHEMA, DeadLetter
from darkroom.jobs.prepare.rows import DATASET_SCHEMA
from darkroom.storage import FileEntry, PartWriter
from darkroom.temporary import temporary_folder

MB = 1_000_000

BlockT = TypeVar("BlockT")


@dataclass(frozen=True, slots=True)
class Block(Generic[BlockT]):
    """The rows of one chunk, wherever they are."""

    split: Split
    num_bytes: int
    rows: BlockT


@dataclass(frozen=True, slots=True)
class Part(Generic[BlockT]):
    """Blocks that make one file."""

    split: Split
    index: int
    blocks: Sequence[BlockT]

    @property
    def name(self) -> str:
        """The file's name in the artifact."""
        return f"data/{self.split}/part-{self.index:05d}.parquet"


@dataclass(frozen=True, slots=True)
class WrittenPart:
    """What a writing task reports."""

    split: Split
    entry: FileEntry | None
    """None when every file of the part was bad."""
    dead_letters: Sequence[DeadLetter]
    sizes: Sequence[tuple[int, int]] = ()
    """(height, width) of the pictures; of several sizes two."""

    @property
    def num_rows(self) -> int:
        """Dataset rows in the file."""
        return 0 if self.entry is None else self.entry.rows or 0


def group_blocks(blocks: Iterable[Block[BlockT]], *, target_bytes: int) -> Iterator[Part[BlockT]]:
    """Consecutive blocks of one split, up to `target_bytes` a file; lazy, in order."""
    pending: list[BlockT] = []
    split: Split | None = None
    num_bytes = index = 0
    for block in blocks:
        is_full = num_bytes + block.num_bytes > target_bytes
        if split is not None and pending and (block.split != split or is_full):
            yield Part(split, index, pending)
            index = index + 1 if block.split == split else 0
            pending, num_bytes = [], 0
        split = block.split
        pending.append(block.rows)
        num_bytes += block.num_bytes
    if split is not None and pending:
        yield Part(split, index, pending)


def write_part(
    name: str,
    split: Split,
    writer: PartWriter,
    *tables: pa.Table,
    row_group_rows: int,
    row_group_mb: int,
) -> WrittenPart:
    """Write the pictures among the rows as one Parquet file; report the dead letters."""
    table = pa.concat_tables(tables)
    is_dead = pc.is_valid(table["reason"])
    dead = table.filter(is_dead).select(DEAD_SCHEMA.names)
    pictures = table.filter(pc.invert(is_dead)).select(DATASET_SCHEMA.names).cast(DATASET_SCHEMA)
    letters = [DeadLetter(**row) for row in dead.to_pylist()]
    if not len(pictures):
        return WrittenPart(split, None, letters)
    row_groups = cut_row_groups(
        pc.binary_length(pictures["image"]).to_pylist(),
        max_rows=row_group_rows,
        max_bytes=row_group_mb * MB,
    )
    metadata = {"split": split, "row_groups": row_groups}
    entry = write_parquet(writer, name, pictures, row_groups, metadata=metadata)
    sizes = zip(pictures["height"].to_pylist(), pictures["width"].to_pylist(), strict=True)
    return WrittenPart(split, entry, letters, sorted(set(sizes))[:2])


def cut_row_groups(sizes: Iterable[int], *, max_rows: int, max_bytes: int) -> list[int]:
    """Rows of each row group: runs within both bounds, except that one row may be larger."""
    groups: list[int] = []
    num_bytes = 0
    for size in sizes:
        if not groups or groups[-1] == max_rows or num_bytes + size > max_bytes:
            groups.append(0)
            num_bytes = 0
        groups[-1] += 1
        num_bytes += size
    return groups


def write_parquet(
    writer: PartWriter,
    name: str,
    table: pa.Table,
    row_groups: Sequence[int],
    *,
    metadata: dict[str, Any] | None = None,
) -> FileEntry:
    """Upload `table` as the Parquet file `name` with the given row groups."""
    with temporary_folder() as folder:
        path = folder / "part.parquet"
        with pq.ParquetWriter(path, table.schema, **_options(table.schema)) as parquet:
            start = 0
            for count in row_groups:
                parquet.write_table(table.slice(start, count), row_group_size=count)
                start += count
        return writer.write_file(name, path, rows=len(table), metadata=metadata)


def _options(schema: pa.Schema) -> dict[str, Any]:
    """Pictures are compressed already; statistics of pictures and pages would be dead weight."""
    others = [name for name in schema.names if name != "image"]
    return {
        "compression": {name: "NONE" if name == "image" else "ZSTD" for name in schema.names},
        "use_dictionary": [name for name in others if name != "id"],
        "write_statistics": others,
        "write_page_checksum": True,
    }
