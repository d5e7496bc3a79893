"""Captions beside pictures: the hub's metadata files, encodings, spellings of names."""

from __future__ import annotations

import codecs
import gzip
import json
import unicodedata
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from darkroom.errors import DataError
from darkroom.jobs.pictures.folder import list_folder
from darkroom.jobs.pictures.listing import PictureListing
from darkroom.storage import parse_uri

APART, TOGETHER = (unicodedata.normalize(form, "crème brûlée.png") for form in ("NFD", "NFC"))


def listing(
    folder: Path, files: Mapping[str, str | bytes | None], *, captioned: bool = False
) -> PictureListing:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = content.encode() if isinstance(content, str) else content
        path.write_bytes(b"data" if data is None else data)
    uri = parse_uri(str(folder))
    return list_folder(uri, field="input", classes="needed", captioned=captioned)


def rows(found: PictureListing) -> list[tuple[str, str | None, str | None, str | None]]:
    names = found.classes
    return [
        (i.path, i.split, i.caption, None if i.label is None else names[i.label])
        for i in found.items
    ]


def lines(*entries: Mapping[str, object]) -> str:
    return "\n".join(json.dumps(entry) for entry in entries) + "\n"


JSONL = lines({"file_name": "1.png", "text": "a cat"}, {"file_name": "deep/2.png", "text": "a dog"})
CSV = 'file_name,text\r\n1.png,a cat\r\n"deep/2.png","a dog"\r\n'


@pytest.mark.parametrize("captioned", [False, True])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metadata.jsonl", JSONL),
        ("metadata.csv", CSV),
        ("metadata.csv", CSV.replace(",", ";")),
        ("metadata.csv", CSV.replace(",", "\t").replace("\r", "")),
        ("metadata.jsonl", JSONL.replace("text", "caption").replace("1.png", "./1.png")),
        ("metadata.jsonl", JSONL.replace("\n", "\r\n\r\n").replace("deep/2", "deep\\\\2")),
    ],
)
@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_the_hubs_layout_is_read(
    tmp_path: Path, name: str, content: str, mark: bytes, *, captioned: bool
) -> None:
    train = {
        f"train/{name}": mark + content.encode(),
        "train/1.png": None,
        "train/deep/2.png": None,
    }
    test = {"test/metadata.jsonl": JSONL, "test/1.png": None, "test/deep/2.png": None}
    found = listing(tmp_path, {**train, **test}, captioned=captioned)
    assert rows(found) == [
        ("test/1.png", "test", "a cat", None),
        ("test/deep/2.png", "test", "a dog", None),
        ("train/1.png", "train", "a cat", None),
        ("train/deep/2.png", "train", "a dog", None),
    ]
    assert not found.rejects
    assert not found.num_skipped


def test_metadata_at_the_root_speaks_for_all_and_the_splits_are_the_folders(tmp_path: Path) -> None:
    entries = [
        {"file_name": f"{split}/{n}.png", "label": n} for split in ("train", "dev") for n in (0, 1)
    ]
    pictures = {str(entry["file_name"]): None for entry in entries}
    found = listing(tmp_path, {"metadata.jsonl": lines(*entries), **pictures})
    assert list(found.classes) == ["0", "1"]
    assert rows(found) == [
        ("dev/0.png", "validation", None, "0"),
        ("dev/1.png", "validation", None, "1"),
        ("train/0.png", "train", None, "0"),
        ("train/1.png", "train", None, "1"),
    ]


def test_a_flat_folder_with_metadata_is_split_by_the_config(tmp_path: Path) -> None:
    content = lines({"file_name": "1.png", "text": "a cat", "label": "cats", "more": [1]})
    found = listing(tmp_path, {"metadata.jsonl": content, "1.png": None, "2.png": None})
    assert rows(found) == [("1.png", None, "a cat", "cats")]
    assert [(one.id, one.reason) for one in found.rejects] == [("2.png", "no_caption")]


def test_metadata_as_parquet_and_packed(tmp_path: Path) -> None:
    table = pa.table({"file_name": ["1.png"], "text": ["a cat"], "label": [3], "boxes": [[1, 2]]})
    pq.write_table(table, tmp_path / "table")
    files = {
        "train/metadata.parquet": (tmp_path / "table").read_bytes(),
        "test/metadata.csv": gzip.compress(b"file_name,text\n1.png,a dog\n"),
    }
    found = listing(tmp_path / "in", {**files, "train/1.png": None, "test/1.png": None})
    assert rows(found) == [
        ("test/1.png", "test", "a dog", None),
        ("train/1.png", "train", "a cat", "3"),
    ]


def test_a_pointer_in_place_of_metadata_is_named(tmp_path: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    with pytest.raises(DataError, match=r"metadata.csv', is a Git LFS pointer"):
        listing(tmp_path, {"metadata.csv": pointer, "1.png": None})


def test_other_tables_beside_class_folders_are_left_alone(tmp_path: Path) -> None:
    others = {
        "metadata.csv": "id,licence\n1,MIT\n",
        "cats/metadata.jsonl": "",
        "captions.json": '{"info": {}}',
    }
    found = listing(tmp_path, {**others, "cats/1.png": None})
    assert rows(found) == [("cats/1.png", None, None, "cats")]
    assert found.num_skipped == {".csv": 1, ".json": 1, ".jsonl": 1}


def test_captions_are_read_without_being_told_so(tmp_path: Path) -> None:
    found = listing(
        tmp_path, {"train/captions.json": '{"1.png": "a cat"}', "train/images/1.png": None}
    )
    assert rows(found) == [("train/images/1.png", "train", "a cat", None)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize(("named", "there"), [(APART, TOGETHER), (TOGETHER, APART)])
def test_names_and_encodings_of_captions(
    tmp_path: Path, encoding: str, named: str, there: str
) -> None:
    content = json.dumps({named: "a dessert, très bon"}, ensure_ascii=False).encode(encoding)
    found = listing(
        tmp_path, {"train/captions.json": content, f"train/images/{there}": None}, captioned=True
    )
    assert [(i.path, i.caption) for i in found.items] == [
        (f"train/images/{there}", "a dessert, très bon")
    ]
    assert not found.rejects


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("captions.json", b'{"1.png": "\xe9"}', r"not UTF-8 text \(a byte of line 1\)"),
        ("metadata.csv", "file_name,text\n1.png,é\n".encode("cp1252"), "is not UTF-8 text"),
        ("metadata.jsonl", b'{"file_name": "1.png"', "line 1 is no JSON"),
        (
            "metadata.jsonl",
            b'{"file_name": "1.png", "objects": []}',
            "line 1 lacks a file name or a",
        ),
        ("metadata.csv", b"file_name,text\n1.png,a,b\n", "line 2 has 3 fields, the header has 2"),
        ("metadata.csv", b"file_name,text\n1.png,a\n./1.png,b\n", "line 3 names './1.png' again"),
    ],
)
def test_faulty_files_are_named(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        listing(tmp_path, {f"train/{name}": content, "train/images/1.png": None})
    assert f"train/{name}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_files_of_captions_in_one_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"metadata.jsonl', stands beside metadata.csv; keep one"):
        listing(tmp_path, {"metadata.csv": CSV, "metadata.jsonl": JSONL, "1.png": None})


def test_a_split_without_captions_is_named(tmp_path: Path) -> None:
    files = {"train/metadata.jsonl": JSONL, "train/1.png": None, "test/1.png": None}
    with pytest.raises(DataError, match=r"test/captions.json', is missing.*or a metadata.jsonl"):
        listing(tmp_path, files)


@pytest.mark.parametrize("captioned", [False, True])
def test_splits_one_folder_too_deep_are_named(tmp_path: Path, *, captioned: bool) -> None:
    one = lines({"file_name": "1.png", "text": "a cat"})
    files = {
        f"data/{split}/{name}": content
        for split in ("train", "test")
        for name, content in (("metadata.jsonl", one), ("deep/1.png", None))
    }
    with pytest.raises(DataError, match=r"holds one folder, data, .*name .*/data"):
        listing(tmp_path, files, captioned=captioned)
