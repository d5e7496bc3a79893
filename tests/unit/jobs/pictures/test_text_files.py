"""Captions in text files beside the pictures."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.unit.jobs.pictures.test_captions_beside import APART, TOGETHER, listing, rows

from darkroom.errors import DataError
from darkroom.jobs.pictures.text_files import MAX_BYTES


def test_each_picture_s_text_file_is_its_caption(tmp_path: Path) -> None:
    files = {
        "train/1.png": None,
        "train/1.txt": " a cat,\n on a mat \n",
        "train/deep/2.jpg": None,
        "train/deep/2.TXT": "",
        "val/3.webp": None,
        "val/3.txt": "\ufeffein Hünd".encode(),
        "README.txt": "about the data",
    }
    found = listing(tmp_path, files, captioned=True)
    assert rows(found) == [
        ("train/1.png", "train", "a cat,\n on a mat", None),
        ("train/deep/2.jpg", "train", "", None),
        ("val/3.webp", "validation", "ein Hünd", None),
    ]
    assert found.num_skipped == {".txt": 1}
    assert not found.rejects


def test_a_picture_without_one_and_one_that_is_no_text_are_dead_letters(tmp_path: Path) -> None:
    files = {"1.png": None, "2.png": None, "3.png": None, "1.txt": "a cat", "3.txt": b"caf\xe9"}
    found = listing(tmp_path, files, captioned=True)
    assert rows(found) == [("1.png", None, "a cat", None)]
    assert [(one.id, one.reason) for one in found.rejects] == [
        ("2.png", "no_caption"),
        ("3.png", "no_caption"),
    ]


def test_names_are_compared_in_one_spelling(tmp_path: Path) -> None:
    files = {APART: None, f"{TOGETHER.removesuffix('.png')}.txt": "a dessert"}
    found = listing(tmp_path, files, captioned=True)
    assert [item.caption for item in found.items] == ["a dessert"]


def test_a_changed_caption_is_another_source(tmp_path: Path) -> None:
    digests = [
        listing(tmp_path / text, {"1.png": None, "1.txt": text}, captioned=True).parent.digest
        for text in ("cat", "a cat")
    ]
    assert digests[0] != digests[1]


def test_text_files_say_nothing_where_captions_were_not_asked_for(tmp_path: Path) -> None:
    found = listing(tmp_path, {"cats/1.png": None, "cats/1.txt": "a cat"})
    assert rows(found) == [("cats/1.png", None, None, "cats")]


@pytest.mark.parametrize(
    ("files", "line"),
    [
        ({"1.png": None, "b.txt": "x", "a.txt": "x"}, "has 2 text files, and none is named as a p"),
        ({"1.png": None, "1.txt": "x" * (MAX_BYTES + 1)}, f"has {MAX_BYTES + 1} bytes, too many"),
        (
            {"images/1.png": None, "images/1.txt": "x", "captions.json": '{"1.png": "x"}'},
            "images/1.txt', is a caption, and captions.json has captions of the same folder",
        ),
        ({"1.png": None}, "or a text file beside each picture"),
        (
            {"1.png": None, "captions.json": '{"2.png": "x"}'},
            "holds no picture that can be used (1.png: no caption names it)",
        ),
    ],
)
def test_what_cannot_be_read_is_one_line(
    tmp_path: Path, files: dict[str, str | None], line: str
) -> None:
    with pytest.raises(DataError, match=re.escape(line)) as caught:
        listing(tmp_path, files, captioned=True)
    assert "\n" not in str(caught.value)
