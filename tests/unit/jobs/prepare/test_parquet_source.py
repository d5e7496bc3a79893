"""Pictures in a column of Parquet: both forms of the column, splits, dead letters, refusals."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.helpers import pictures

from darkroom.config import build_config
from darkroom.errors import DataError
from darkroom.jobs.prepare.config import ParquetSource, PrepareConfig
from darkroom.jobs.prepare.parquet_source import ParquetRows
from darkroom.jobs.prepare.plan import plan_pieces
from darkroom.jobs.prepare.rows import decoding, item_table
from darkroom.jobs.rejects import Rejects

PICTURES = [pictures.encoded(pictures.thumbnail(name)) for name in ("china", "flower")]


def write(path: Path, columns: dict[str, Any], row_group_size: int = 100) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=row_group_size)


def as_struct(datas: list[bytes | None]) -> list[dict[str, Any]]:
    return [{"bytes": data, "path": f"{n}.jpg"} for n, data in enumerate(datas)]


def source(folder: Path, **values: Any) -> ParquetRows:
    return ParquetRows(ParquetSource(uri=str(folder), **values))


@pytest.mark.parametrize("form", ["bytes", "struct", "large"])
def test_both_forms_of_the_column(tmp_path: Path, form: str) -> None:
    column: Any = PICTURES if form == "bytes" else as_struct([*PICTURES])
    if form == "large":
        column = pa.array(PICTURES, pa.large_binary())
    write(tmp_path / "train-00000-of-00001.parquet", {"image": column, "text": ["a", "b"]})
    found = source(tmp_path)
    items = found.listing().items
    assert [(i.id, i.caption, i.split) for i in items] == [
        ("train-00000-of-00001.parquet/000000", "a", "train"),
        ("train-00000-of-00001.parquet/000001", "b", "train"),
    ]
    assert found.read(items, concurrency=1) == PICTURES


def test_columns_by_name_and_no_captions(tmp_path: Path) -> None:
    write(
        tmp_path / "a.parquet",
        {"img": PICTURES, "prompt": pa.array(["x", "x"]).dictionary_encode()},
    )
    assert [
        (item.caption, item.split)
        for item in source(tmp_path, image_column="img", caption_column="prompt").listing().items
    ] == [("x", None)] * 2
    named = source(tmp_path, image_column="img", caption_column=None)
    assert [item.caption for item in named.listing().items] == [None, None]


@pytest.mark.parametrize(
    ("key", "split"),
    [
        ("data/train-00000-of-00002.parquet", "train"),
        ("default/val/0000.parquet", "validation"),
        ("test.parquet", "test"),
        ("training-set/0000.parquet", None),
    ],
)
def test_splits_are_the_hub_s(tmp_path: Path, key: str, split: str | None) -> None:
    write(tmp_path / key, {"image": PICTURES, "text": ["a", "b"]})
    assert {item.split for item in source(tmp_path).listing().items} == {split}


def test_rows_without_a_caption_are_dead_letters(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", {"image": PICTURES * 2, "text": ["a", None, " ", "d"]})
    found = source(tmp_path).listing()
    assert [item.caption for item in found.items] == ["a", "d"]
    assert [(one.id, one.reason) for one in found.rejects] == [
        ("a.parquet/000001", "no_caption"),
        ("a.parquet/000002", "no_caption"),
    ]


def test_a_row_group_s_pictures_stay_together_and_become_rows(tmp_path: Path) -> None:
    texts = [f"{n}" for n in range(12)]
    write(tmp_path / "a.parquet", {"image": PICTURES * 6, "text": texts}, row_group_size=4)
    values = {"source": {"kind": "parquet", "uri": str(tmp_path)}, "output": "out",
              "split": {"train": 1, "validation": 0, "test": 0}, "piece_rows": 4}  # fmt: skip
    config = build_config(PrepareConfig, values)
    pieces = plan_pieces(source(tmp_path).listing().items, config)
    groups = [{item.block for item in piece.items} for piece in pieces]
    assert [len(group) for group in groups] == [1, 1, 1]
    assert len(set.union(*groups)) == 3
    captions = [item.caption for piece in pieces for item in piece.items]
    assert sorted(captions, key=str) == sorted(texts)
    assert captions != texts
    stage, rejects = decoding(config), Rejects("decode")
    rows = stage.make()(item_table(pieces[0]), rejects).to_pylist()
    assert not rejects.found
    assert {row["caption"]: row["image"] for row in rows} == {
        item.caption: PICTURES[int(item.caption or 0) % 2] for item in pieces[0].items
    }


def test_a_picture_that_is_not_in_the_file_is_a_dead_letter(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", {"image": as_struct([PICTURES[0], None]), "text": ["a", "b"]})
    found = source(tmp_path)
    assert found.read(found.listing().items, concurrency=1) == [PICTURES[0], b""]


def test_a_file_that_was_written_anew_stops_the_job(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", {"image": PICTURES, "text": ["a", "b"]})
    found = source(tmp_path)
    items = found.listing().items
    write(tmp_path / "a.parquet", {"image": PICTURES * 3, "text": ["a", "b"] * 3})
    with pytest.raises(DataError, match="has changed since it was listed"):
        found.read(items, concurrency=1)


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        ({"image": PICTURES}, "no column text; set source.caption_column to one of image"),
        ({"text": ["a"], "img": PICTURES[:1]}, "no column image; set source.image_column to one"),
        ({"image": PICTURES, "text": [1, 2]}, "has a column text of int64, not of texts"),
        ({"image": ["a.jpg"], "text": ["a"]}, "has a column image of string, neither bytes nor"),
        ({"image": PICTURES, "text": pa.array([None, None], pa.string())}, "holds no row with a"),
    ],
)
def test_what_cannot_be_read_is_one_line(
    tmp_path: Path, columns: dict[str, Any], line: str
) -> None:
    write(tmp_path / "a.parquet", columns)
    with pytest.raises(DataError, match=re.escape(line)) as caught:
        source(tmp_path).listing()
    assert "\n" not in str(caught.value)


def test_no_files_damaged_ones_and_half_splits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no Parquet files"):
        source(tmp_path).listing()
    (tmp_path / "train.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"train\.parquet', cannot be read"):
        source(tmp_path).listing()
    for name in ("train", "more"):
        write(tmp_path / f"{name}.parquet", {"image": PICTURES, "text": ["a", "b"]})
    with pytest.raises(DataError, match=r"files of splits, and more.parquet that names none"):
        source(tmp_path).listing()
