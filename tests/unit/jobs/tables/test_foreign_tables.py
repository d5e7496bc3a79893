"""Tables as other programs write them: read, or refused in one line that says what they are."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from darkroom.errors import DataError
from darkroom.jobs.tables.table import TextTable, read_table
from darkroom.storage import open_store

CSV = b"id,prompt\n1,a fox\n2,an owl\n"
ROWS = [{"id": "1", "prompt": "a fox"}, {"id": "2", "prompt": "an owl"}]
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n"


def packed(data: bytes, codec: str) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, codec) as stream:
        stream.write(data)
    return bytes(sink.getvalue())


def parquet(**columns: object) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


PARQUET = parquet(id=["1", "2"], prompt=["a fox", "an owl"])


def read(path: Path | str) -> TextTable:
    return read_table(str(path), {}, name="input")


def written(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("t.CSV", CSV),
        ("t", CSV),
        ("t.csv.gz", gzip.compress(CSV)),
        ("t.csv", gzip.compress(CSV)),  # as a server's Content-Encoding leaves it
        ("t.csv.gz", gzip.compress(CSV[:15]) + gzip.compress(CSV[15:])),
        ("t.csv.bz2", bz2.compress(CSV)),
        ("t.csv.zst", packed(CSV, "zstd")),
        ("t.csv.lz4", packed(CSV, "lz4")),
        ("t.csv.xz", lzma.compress(CSV)),
        ("t.tsv", CSV.replace(b",", b"\t")),
        ("t.TSV.gz", gzip.compress(CSV.replace(b",", b"\t"))),
        ("t.csv", CSV.replace(b",", b"\t")),
        ("t.csv", CSV.replace(b",", b";")),
        ("t.csv", CSV.replace(b",", b"|")),
        ("t.csv", b'"id";"prompt"\n"1";"a fox"\n"2";"an owl"\n'),
        ("t.csv", b"sep=;\r\n" + CSV.replace(b",", b";")),
        ("t.csv", CSV.replace(b"\n", b"\r\n")),
        ("t.csv", CSV.replace(b"\n", b"\r")),
        ("t.csv", b"\xef\xbb\xbf" + CSV),
        ("t.csv", CSV.decode().encode("utf-16")),
        ("t.csv", b"\xfe\xff" + CSV.decode().encode("utf-16-be")),
        ("t.csv", CSV.decode().encode("utf-32")),
        ("t.csv", b"\n,,\n" + CSV + b",\n , \n,,,\n\n"),
        ("t.csv", b"id,prompt,,\n1,a fox,,\n2,an owl,,\n"),
        ("t.csv", b"id,prompt\n1,a fox,,,\n2,an owl\n"),
        ("t.PARQUET", PARQUET),
        ("t.csv", PARQUET),
        ("t.parquet.gz", gzip.compress(PARQUET)),
        (
            "t.parquet",
            parquet(
                id=pa.array(["1", "2"]).dictionary_encode(),
                prompt=pa.array(["a fox", "an owl"], pa.large_string()),
            ),
        ),
        ("t.parquet", parquet(id=[1, 2, None], prompt=["a fox", "an owl", " "])),
    ],
)
def test_a_file_is_read_by_its_contents(tmp_path: Path, name: str, data: bytes) -> None:
    table = read(written(tmp_path, {name: data}) / name)
    assert table.rows == ROWS
    assert not table.bad


@pytest.mark.parametrize(
    "files",
    [
        {"_SUCCESS": b"", "._SUCCESS.crc": b"x", "part-00000-c000.csv": CSV,
         "part-00001-c000.csv": b"", ".part-00000-c000.csv.crc": b"x"},
        {"part-0.csv.gz": gzip.compress(CSV), "_temporary/0/part-1.csv": b"id,prompt\n9,no\n"},
        {"0.part": b"id,prompt\n1,a fox\n", "10.part": b"id,prompt\n",
         "2.part": b"prompt,id\nan owl,2\n"},
        {"1_000000_000000.parquet": PARQUET, ".ipynb_checkpoints/1.csv": CSV, "._1.parquet": b"x"},
        {"_metadata": b"PAR1", "_common_metadata": b"PAR1", "part.0.snappy.parquet": PARQUET,
         "part.1.parquet": parquet(id=pa.nulls(0, pa.string()), prompt=pa.nulls(0, pa.string()))},
        {"1.csv": CSV[:18], "2.parquet": parquet(id=[2], prompt=["an owl"]), "notes.txt": b"no"},
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["table", "x.csv", "x.parquet"])
def test_a_folder_of_parts_is_a_table_whatever_its_name(
    tmp_path: Path, name: str, files: Mapping[str, bytes]
) -> None:
    assert read(written(tmp_path / name, files)).rows == ROWS


def test_a_folder_in_a_bucket_too(store_uri: str) -> None:
    store = open_store(store_uri)
    store.put("x.csv/part-0.csv", CSV)
    store.put("x.csv/_SUCCESS", b"")
    assert read(f"{store_uri}/x.csv").rows == ROWS


def test_folders_of_partitions_are_columns(tmp_path: Path) -> None:
    part = parquet(id=["1"])
    names = ["kind=wild%20cat/n=1/p.parquet", "kind=__HIVE_DEFAULT_PARTITION__/n=2/p.parquet"]
    table = read(written(tmp_path, dict.fromkeys(names, part)))
    assert sorted(table.columns) == ["id", "kind", "n"]
    assert sorted(table.rows, key=str) == [
        {"id": "1", "kind": "wild cat", "n": "1"},
        {"id": "1", "kind": None, "n": "2"},
    ]


def test_columns_that_hold_no_texts_are_named_with_their_types(tmp_path: Path) -> None:
    data = parquet(
        id=["1"], image=[b"x"], code=pa.array([b"ab"], pa.binary(2)), tags=[["a"]],
        point=[{"x": 1}], coded=pa.array([b"x"]).dictionary_encode(),
    )  # fmt: skip
    table = read(written(tmp_path, {"t.parquet": data}) / "t.parquet")
    assert table.columns == ("id",)
    assert set(table.left_out) == {"image", "code", "tags", "point", "coded"}


def test_nothing_of_an_extension_type_is_unpickled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray.cloudpickle as pickle
    from ray.data.extensions import ArrowPythonObjectArray

    monkeypatch.setattr(pickle, "load", pytest.fail)
    monkeypatch.setattr(pickle, "loads", pytest.fail)
    data = parquet(id=["1"], thing=ArrowPythonObjectArray.from_objects([{1}]))
    table = read(written(tmp_path, {"t.parquet": data}) / "t.parquet")
    assert table.rows == [{"id": "1"}]
    assert "thing" in table.left_out


def twice() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_arrays([pa.array(["1"])] * 2, names=["id", "id"]), out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("t.csv", POINTER, "Git LFS pointer.*git lfs pull"),
        ("t.parquet", POINTER, "Git LFS pointer.*git lfs pull"),
        ("t.csv", b"\n<!DOCTYPE html><html>Sign in", "is a web page"),
        ("t.csv", b"<?xml version='1.0'?>\n<Error><Code>NoSuchKey", "error answer"),
        ("t.csv", b"PK\x03\x04...", "Excel workbook.*write the table as CSV"),
        ("t.csv", b'{"id": 1}\n', "is JSON, not CSV"),
        ("t.json.gz", gzip.compress(b'[{"id": 1}]'), "is JSON, not CSV"),
        ("t.csv", bytes(500), "NUL bytes only"),
        ("t.csv", CSV.decode().encode("utf-16-le"), "UTF-16 without a byte order mark"),
        ("t.csv", CSV.decode().encode("utf-16")[:-1], "begins as UTF-16"),
        ("t.csv", "id,größe\n1,2\n".encode("cp1252"), "is not UTF-8: its header"),
        ("t.csv", b"id,p\0\n1,a\n", "NUL bytes in its first line"),
        ("t.csv", b"", "is empty"),
        ("t.csv.gz", gzip.compress(b""), "is empty"),
        ("t.csv.gz", gzip.compress(CSV)[:-12], "is gzip that is cut off"),
        ("t.csv.zst", packed(CSV, "zstd")[:-3], "is zstd that is cut off"),
        ("t.csv.bz2", bz2.compress(CSV)[:-5], "is bz2 that is cut off"),
        ("t.csv.xz", lzma.compress(CSV)[:-5], "is xz that is cut off"),
        ("t.csv", b'id,prompt\n1,a\n2,"open\n3,b\n', r"'t\.csv line 3'.*quote .* never closed"),
        ("t.csv", b"id,p\n1," + b"x" * (17 << 20), r"line 2'.*more than 16,777,216 characters"),
        ("t.csv", b",id\n0,1\n", "line 2 holds '0' in its column 1.*without its index"),
        ("t.parquet", b"", "is no Parquet file"),
        ("t.parquet", CSV, "is no Parquet file"),
        ("t.parquet", PARQUET[:-20], "is no Parquet file"),
        ("t.parquet", PARQUET[:30] + b"\xff" * 30 + PARQUET[60:], "is no Parquet file"),
        ("t.parquet", twice(), "'id', names two columns of t.parquet"),
        ("t.parquet", parquet(far=pa.array([2**62], pa.timestamp("us"))), "in its column far"),
    ],
)
def test_what_is_no_table_is_named_as_what_it_is(
    tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(written(tmp_path, {name: data}) / name)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"1.csv": CSV, "2.csv": b"id,text\n1,a\n"}, "lacks prompt and has text besides.*1.csv"),
        ({"1.parquet": PARQUET, "2.parquet": b""}, "'2.parquet'.*is no Parquet file"),
        ({"1.csv": CSV, "2.csv": POINTER}, "'2.csv'.*Git LFS"),
        ({"_delta_log/0.json": b"{}", "p.parquet": PARQUET}, "Delta Lake table.*rows that it has"),
        ({"metadata/v1.metadata.json": b"{}", "p.parquet": PARQUET}, "an Iceberg table"),
        ({"a.jsonl": b"{}", "b.txt": b""}, r"no \.csv.*only 1 \.jsonl, 1 \.txt files"),
        ({"_SUCCESS": b""}, "only hidden files"),
    ],
)
def test_a_folder_that_is_no_table_is_refused(
    tmp_path: Path, files: Mapping[str, bytes], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read(written(tmp_path / "x.parquet", files))


def test_a_part_that_cannot_be_read_is_not_left_out(tmp_path: Path) -> None:
    written(tmp_path, {"1.csv": CSV})
    (tmp_path / "2.csv").symlink_to(tmp_path / "gone.csv")
    with pytest.raises(DataError, match=r"2\.csv', cannot be read \(is a link to .*not there"):
        read(tmp_path)


def test_a_row_in_another_encoding_says_which(tmp_path: Path) -> None:
    data = "id,prompt\n1,a fox\n2,café\n".encode("cp1252")
    (bad,) = read(written(tmp_path, {"t.csv": data}) / "t.csv").bad
    assert "'café' in Windows-1252); save the file as UTF-8" in bad.detail
