"""Grouping blocks into files and rows into row groups, and one file written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from darkroom.jobs.pictures.config import SPLITS
from darkroom.jobs.prepare.parts import Block, cut_row_groups, group_blocks, write_part
from darkroom.jobs.prepare.rows import DATASET_SCHEMA, ROW_SCHEMA
from darkroom.storage import PartWriter, parse_uri

blocks_in_order = st.lists(st.tuples(st.sampled_from(SPLITS), st.integers(0, 50)), max_size=40).map(
    lambda pairs: sorted(pairs, key=lambda pair: SPLITS.index(pair[0]))
)


@given(pairs=blocks_in_order, target=st.integers(1, 100))
def test_parts_hold_every_block_once_in_order_within_the_target(
    pairs: list[Any], target: int
) -> None:
    blocks = [Block(split, size, index) for index, (split, size) in enumerate(pairs)]
    parts = list(group_blocks(blocks, target_bytes=target))
    assert [index for part in parts for index in part.blocks] == list(range(len(blocks)))
    for part in parts:
        members = [blocks[index] for index in part.blocks]
        assert {block.split for block in members} == {part.split}
        assert len(members) == 1 or sum(block.num_bytes for block in members) <= target
    names = [part.name for part in parts]
    assert len(set(names)) == len(names)


def test_part_names_count_within_each_split() -> None:
    blocks = [Block(split, 9, None) for split in ("train", "train", "test")]
    names = [part.name for part in group_blocks(blocks, target_bytes=10)]
    assert names == [
        "data/train/part-00000.parquet",
        "data/train/part-00001.parquet",
        "data/test/part-00000.parquet",
    ]


@given(
    sizes=st.lists(st.integers(0, 40), max_size=60),
    max_rows=st.integers(1, 9),
    max_bytes=st.integers(1, 90),
)
def test_row_groups_cover_all_rows_within_both_bounds(
    sizes: list[int], max_rows: int, max_bytes: int
) -> None:
    groups = cut_row_groups(sizes, max_rows=max_rows, max_bytes=max_bytes)
    assert sum(groups) == len(sizes)
    start = 0
    for count in groups:
        assert 1 <= count <= max_rows
        assert count == 1 or sum(sizes[start : start + count]) <= max_bytes
        start += count


def row(name: str, **values: Any) -> dict[str, Any]:
    return {
        "id": name,
        "image": name.encode() * 10,
        "label": 1,
        "split": "train",
        "width": 2,
        "height": 3,
        **values,
    }


def dead(path: str) -> dict[str, Any]:
    return {"path": path, "reason": "empty", "detail": "0 bytes"}


def rows(*values: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(values), schema=ROW_SCHEMA)


def written(tmp_path: Path, *tables: pa.Table, attempt: str = "a") -> tuple[Any, Path]:
    part = write_part(
        "data/train/part-00000.parquet",
        "train",
        PartWriter(parse_uri(tmp_path), attempt),
        *tables,
        row_group_rows=2,
        row_group_mb=1,
    )
    return part, tmp_path / "attempts" / attempt / "data/train/part-00000.parquet"


def test_file_holds_the_pictures_and_the_dead_letters_come_back(tmp_path: Path) -> None:
    part, path = written(tmp_path, rows(row("a"), dead("x.jpg"), row("b")), rows(row("c")))
    assert [(letter.path, letter.reason) for letter in part.dead_letters] == [("x.jpg", "empty")]
    assert part.num_rows == 3
    assert part.entry.metadata == {"split": "train", "row_groups": [2, 1]}
    parquet = pq.ParquetFile(path, page_checksum_verification=True)
    table = parquet.read()
    assert table.schema.equals(DATASET_SCHEMA)
    assert table["id"].to_pylist() == ["a", "b", "c"]
    counts = [parquet.metadata.row_group(i).num_rows for i in range(parquet.num_row_groups)]
    assert counts == part.entry.metadata["row_groups"]


def test_damaged_page_is_found_by_its_checksum(tmp_path: Path) -> None:
    _, path = written(tmp_path, rows(row("needle")))
    data = bytearray(path.read_bytes())
    data[data.index(b"needleneedle") + 3] ^= 1
    path.write_bytes(data)
    damaged = pq.ParquetFile(path, page_checksum_verification=True)
    try:
        damaged.read()
    except OSError as error:
        assert "checksum" in str(error).lower()  # noqa: PT017
    else:
        raise AssertionError("the damage went unnoticed")


def test_part_without_any_picture_writes_nothing(tmp_path: Path) -> None:
    part, path = written(tmp_path, rows(dead("x.jpg"), dead("y.jpg")))
    assert part.entry is None
    assert part.num_rows == 0
    assert len(part.dead_letters) == 2
    assert not path.exists()


def test_same_rows_are_the_same_file_however_they_are_blocked(tmp_path: Path) -> None:
    one, _ = written(tmp_path, rows(row("a"), row("b"), row("c")))
    two, _ = written(tmp_path, rows(row("a")), rows(row("b"), row("c")), attempt="b")
    assert one.entry.sha256 == two.entry.sha256
