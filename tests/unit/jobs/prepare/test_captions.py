"""Captioned folders: both forms of captions.json, the split, dead letters, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from darkroom.errors import DataError
from darkroom.jobs.pictures.listing import PictureListing
from darkroom.jobs.prepare.config import CaptionsSource
from darkroom.jobs.prepare.folder_source import FolderSource


def listing(folder: Path, captions: dict[str, Any], pictures: list[str]) -> PictureListing:
    for name in pictures:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"data")
    for split, values in captions.items():
        (folder / split).mkdir(parents=True, exist_ok=True)
        text = values if isinstance(values, str) else json.dumps(values)
        (folder / split / "captions.json").write_text(text)
    return FolderSource(CaptionsSource(uri=str(folder))).listing()


def test_both_forms_and_every_split(tmp_path: Path) -> None:
    found = listing(
        tmp_path,
        {
            "train": {"a.jpg": "a cat", "deep/b.png": ""},
            "val": [{"file_name": "images/c.webp", "text": "a dog", "label": "dogs"}],
            "test": [{"image": "d.jpg", "caption": "a cow", "label": "cows"}],
        },
        [
            *("train/images/a.jpg", "train/images/deep/b.png", "val/images/c.webp"),
            *("test/images/d.jpg", "train/README.md"),
        ],
    )
    assert [(i.id, i.caption, i.split, i.label) for i in found.items] == [
        ("test/images/d.jpg", "a cow", "test", 0),
        ("train/images/a.jpg", "a cat", "train", None),
        ("train/images/deep/b.png", "", "train", None),
        ("val/images/c.webp", "a dog", "validation", 1),
    ]
    assert list(found.classes) == ["cows", "dogs"]
    assert found.num_skipped == {".md": 1}
    assert not found.rejects


def test_what_has_no_partner_is_a_dead_letter(tmp_path: Path) -> None:
    captions = {"train": {"a.jpg": "a cat", "gone.jpg": "a ghost", "c.jpg": "\ud800"}}
    pictures = [f"train/images/{name}.jpg" for name in "abc"]
    found = listing(tmp_path, captions, pictures)
    assert [item.path for item in found.items] == ["train/images/a.jpg"]
    assert {(letter.id, letter.reason) for letter in found.rejects} == {
        ("train/images/b.jpg", "no_caption"),
        ("train/images/c.jpg", "no_caption"),
        ("train/images/gone.jpg", "missing"),
    }


@pytest.mark.parametrize(
    ("captions", "line"),
    [
        ({}, "train/captions.json', is missing"),
        ({"train": "{"}, "is no JSON"),
        ({"train": '"text"'}, "is neither an object nor a list"),
        ({"train": '{"a.jpg": "x", "a.jpg": "y"}'}, "names 'a.jpg' twice"),
        ({"train": {"a.jpg": ["x", "y"]}}, "'a.jpg' has ['x', 'y'] as its caption"),
        ({"train": ["a.jpg"]}, "entry 0 is no object"),
        ({"train": [{"file_name": "a.jpg"}]}, "entry 0 lacks a file name or a caption"),
        (
            {"train": [{"image": "a.jpg", "text": "x", "label": 3}]},
            "entry 0 has the label 3; write the name of its class",
        ),
        ({"train": [{"image": "a.jpg", "text": "x"}] * 2}, "entry 1 names 'a.jpg' again"),
    ],
)
def test_faulty_captions_are_refused(tmp_path: Path, captions: dict[str, Any], line: str) -> None:
    with pytest.raises(DataError) as caught:
        listing(tmp_path, captions, ["train/images/a.jpg"])
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no pictures, only other files \(1 .json\)"):
        listing(tmp_path, {"train": {}}, [])
