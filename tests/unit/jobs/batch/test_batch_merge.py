"""Pieces to files of a sensible size: grouped by real sizes, row groups cut anew, order kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.errors import IntegrityError
from darkroom.jobs.batch.commits import Commit, CommitLog, PieceFile
from darkroom.jobs.batch.merge import (
    MB,
    Folder,
    Layout,
    group_pieces,
    merger,
    merging_pieces,
)
from darkroom.jobs.parquet import parquet_bytes
from darkroom.storage import FileEntry, PartWriter, open_store, parse_uri

FOLDERS = {name: Folder(f"data/{name}", {"split": name}) for name in ("train", "test")}
SCHEMA = pa.schema([pa.field("id", pa.string(), nullable=False), ("image", pa.binary())])

pieces_in_order = st.lists(
    st.tuples(st.sampled_from(["train", "test"]), st.integers(0, 50)), max_size=40
).map(lambda pairs: sorted(pairs, reverse=True))


def committed(index: int, size: int) -> Commit:
    """A piece with a file of `size` MB; without one at 0, where all its rows were rejected."""
    files = (FileEntry(str(index), str(index), size * MB, ""),) if size else ()
    return Commit(index, "", 1, files, ())


def groups_of(pairs: list[Any], file_mb: int) -> list[Any]:
    commits = [committed(index, size) for index, (_, size) in enumerate(pairs)]
    return list(group_pieces(commits, [FOLDERS[name] for name, _ in pairs], file_mb=file_mb))


@given(pairs=pieces_in_order, target=st.integers(1, 100))
def test_groups_hold_every_piece_once_in_order_within_the_target(
    pairs: list[Any], target: int
) -> None:
    groups = groups_of(pairs, target)
    found = [part.name for group in groups for part in group.parts]
    assert found == [str(index) for index, (_, size) in enumerate(pairs) if size]
    for group in groups:
        assert all(FOLDERS[pairs[int(part.name)][0]] == group.folder for part in group.parts)
        assert len(group.parts) == 1 or sum(part.size for part in group.parts) <= target * MB


def test_files_are_counted_within_each_folder() -> None:
    groups = groups_of([("train", 9), ("train", 9), ("test", 9)], 10)
    assert [(group.folder.name, group.index) for group in groups] == [
        ("data/train", 0),
        ("data/train", 1),
        ("data/test", 0),
    ]


def table(*names: str, size: int = 10) -> pa.Table:
    return pa.table({"id": list(names), "image": [(n * size).encode() for n in names]}, SCHEMA)


def parts(writer: PartWriter, tables: tuple[pa.Table, ...]) -> list[Commit]:
    log = CommitLog(writer)
    return [
        log.commit(
            Commit(index, str(index), len(rows), (), ()),
            [PieceFile(f"data/part-{index:05d}.parquet", parquet_bytes(rows), len(rows))],
        )
        for index, rows in enumerate(tables)
    ]


def merged(
    folder: Path, *tables: pa.Table, row_group_rows: int = 2, row_group_mb: int = 1
) -> FileEntry:
    writer = PartWriter(parse_uri(folder), "a")
    commits = parts(writer, tables)
    groups = list(group_pieces(commits, [FOLDERS["train"]] * len(tables), file_mb=100))
    layout = Layout(100, row_group_rows, row_group_mb)
    (piece,) = merging_pieces(groups)
    (entry,) = merger(CommitLog(writer, "merged"), layout, groups).commit(piece).files
    return entry


def test_a_file_holds_all_rows_in_row_groups_across_pieces(tmp_path: Path) -> None:
    entry = merged(tmp_path, table("a"), table("b", "c", "d"), table("e"))
    assert entry.name == "data/train/part-00000.parquet"
    assert (entry.rows, entry.metadata) == (5, {"split": "train", "row_groups": [2, 2, 1]})
    parquet = pq.ParquetFile(tmp_path / entry.key, page_checksum_verification=True)
    assert parquet.read().equals(table(*"abcde"))
    assert parquet.schema_arrow.equals(SCHEMA)
    counts = [parquet.metadata.row_group(i).num_rows for i in range(parquet.num_row_groups)]
    assert counts == [2, 2, 1]


def test_row_groups_are_bounded_by_bytes_too(tmp_path: Path) -> None:
    half = table("a", "b", size=MB // 2)
    entry = merged(tmp_path, half, table("c", size=2 * MB), half, row_group_rows=100)
    assert entry.metadata["row_groups"] == [2, 1, 2]


def test_the_same_rows_are_the_same_file_however_they_are_cut(tmp_path: Path) -> None:
    one = merged(tmp_path / "one", table("a", "b", "c"))
    two = merged(tmp_path / "two", table("a"), table("b", "c"))
    assert one.sha256 == two.sha256


def test_a_damaged_page_is_found_by_its_checksum(tmp_path: Path) -> None:
    path = tmp_path / merged(tmp_path, table("needle")).key
    data = bytearray(path.read_bytes())
    data[data.index(b"needleneedle") + 3] ^= 1
    path.write_bytes(data)
    with pytest.raises(OSError, match=r"(?i)checksum"):
        pq.ParquetFile(path, page_checksum_verification=True).read()


def test_a_part_that_was_changed_is_not_merged(tmp_path: Path) -> None:
    writer = PartWriter(parse_uri(tmp_path), "a")
    commits = parts(writer, (table("a"),))
    open_store(writer.output).put(commits[0].files[0].key, parquet_bytes(table("b")))
    groups = list(group_pieces(commits, [FOLDERS["train"]], file_mb=1))
    with pytest.raises(IntegrityError, match="changed after it was committed"):
        merger(CommitLog(writer, "merged"), Layout(1, 1, 1), groups).commit(*merging_pieces(groups))
