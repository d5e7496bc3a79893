"""Tables are read as texts; what is no row is named with its place, and the rest goes on."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.helpers.tiny_artifacts import publish_digits

from darkroom.errors import DataError
from darkroom.jobs.tables.table import TextTable, read_table


def read(path: Path, **rename: str) -> TextTable:
    return read_table(str(path), rename, name="input")


def csv_of(folder: Path, data: bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def test_csv_values_are_texts_as_they_stand(tmp_path: Path) -> None:
    data = '\ufeffid,name,size\n007,"Fox, red",1e3\n\n008,"two\nlines",\n'.encode()
    table = read(csv_of(tmp_path, data), name="animal")
    assert table.columns == ("id", "animal", "size")
    assert table.rows == [
        {"id": "007", "animal": "Fox, red", "size": "1e3"},
        {"id": "008", "animal": "two\nlines", "size": None},
    ]
    assert not table.bad


def test_parquet_values_are_texts_and_pictures_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    columns = {"id": [1, 2], "name": ["é", None], "image": [b"\x00", b"\x01"], "tags": [["a"], []]}
    pq.write_table(pa.table(columns), path)
    table = read(path)
    assert table.columns == ("id", "name")
    assert table.rows == [{"id": "1", "name": "é"}, {"id": "2", "name": None}]


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path: Path) -> None:
    csv_of(tmp_path, b"id\nb\n", "2.csv")
    csv_of(tmp_path, b"id\na\n", "1.csv")
    csv_of(tmp_path, b"not a table", "notes.txt")
    table = read(tmp_path)
    assert [row["id"] for row in table.rows] == ["a", "b"]
    assert table.places == ["1.csv line 2", "2.csv line 2"]


def test_what_darkroom_published_is_read_through_its_manifest(tmp_path: Path) -> None:
    artifact = publish_digits(tmp_path / "digits")
    table = read(tmp_path / "digits")
    assert len(table.rows) == 1797
    assert {"id", "label", "split"} <= set(table.columns)
    assert "image" not in table.columns
    assert table.parent.digest == artifact.digest


def test_the_digest_names_the_contents(tmp_path: Path) -> None:
    first = read(csv_of(tmp_path, b"id\na\n")).parent
    assert read(csv_of(tmp_path, b"id\na\n")).parent == first
    assert read(csv_of(tmp_path, b"id\nb\n")).parent.digest != first.digest


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"x,fine,more", "fields"),
        (b"x", "fields"),
        (b"x,caf\xe9", "encoding"),  # Latin-1
        (b"x,a\xed\xa0\x80b", "encoding"),  # a lone surrogate, as some programs write it
        (b"x,a\x00b", "control"),
        (b"x,a\x1b[31mb", "control"),
    ],
)
def test_a_bad_line_is_set_aside_with_its_place(tmp_path: Path, line: bytes, reason: str) -> None:
    table = read(csv_of(tmp_path, b"id,name\ngood,one\n" + line + b"\nalso,two\n"))
    assert [row["id"] for row in table.rows] == ["good", "also"]
    (bad,) = table.bad
    assert (bad.reason, bad.id) == (reason, "t.csv line 3")
    bad.detail.encode()


def test_strings_of_parquet_are_checked_too(tmp_path: Path) -> None:
    raw = pa.array([b"fine", b"\xff\xfe", b"a\x00b"], pa.binary())
    text = pa.Array.from_buffers(pa.string(), 3, raw.buffers())
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"id": text}), path)
    table = read(path)
    assert [row["id"] for row in table.rows] == ["fine"]
    assert [(bad.reason, bad.id) for bad in table.bad] == [
        ("encoding", "t.parquet row 2"),
        ("control", "t.parquet row 3"),
    ]


def test_a_field_of_a_hundred_thousand_characters_is_read(tmp_path: Path) -> None:
    table = read(csv_of(tmp_path, b"id,prompt\na," + b"x" * 200_000 + b"\n"))
    assert len(table.rows[0]["prompt"] or "") == 200_000


@pytest.mark.parametrize(
    ("data", "rename", "message"),
    [
        (b"", {}, "is empty"),
        (b"id,id\n1,2\n", {}, "names two columns"),
        (b"id,name\n1,2\n", {"name": "id"}, "names two columns"),
        (b"id,name\n1,2\n", {"nane": "animal"}, "did you mean 'name'"),
        (b"id,\n1,2\n", {}, "is no name for a column"),
        (b'id,name\n1,"open\n', {}, "is not CSV"),
    ],
)
def test_a_table_that_cannot_be_one_is_an_error(
    tmp_path: Path, data: bytes, rename: dict[str, str], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read(csv_of(tmp_path, data), **rename)


def test_other_columns_in_another_file_are_an_error(tmp_path: Path) -> None:
    csv_of(tmp_path, b"id,name\n1,2\n", "1.csv")
    csv_of(tmp_path, b"id,nome\n1,2\n", "2.csv")
    with pytest.raises(DataError, match="the same columns"):
        read(tmp_path)


def test_a_damaged_parquet_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no Parquet file"):
        read(csv_of(tmp_path, b"PAR1 no", "t.parquet"))


def test_nothing_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read(tmp_path / "none.csv")
    with pytest.raises(DataError, match="does not exist"):
        read(tmp_path)
