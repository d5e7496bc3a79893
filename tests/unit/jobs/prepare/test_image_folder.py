"""Listing a folder of class folders: what counts as a picture, its class, id and fingerprint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from darkroom.errors import DataError
from darkroom.jobs.pictures.listing import PictureListing
from darkroom.jobs.prepare.config import ImageFolderSource
from darkroom.jobs.prepare.folder_source import FolderSource


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "photos"


def fill(folder: Path, names: Sequence[str], data: bytes = b"data") -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def listing(folder: Path) -> PictureListing:
    return FolderSource(ImageFolderSource(uri=str(folder))).listing()


def test_classes_are_the_sorted_first_folders(folder: Path) -> None:
    fill(folder, ["dogs/1.jpg", "cats/deep/er/2.PNG", "ants/3.webp", "ants/4.jpeg"])
    found = listing(folder)
    assert list(found.classes) == ["ants", "cats", "dogs"]
    assert {(item.id, item.path, item.label) for item in found.items} == {
        ("ants/3.webp", "ants/3.webp", 0),
        ("ants/4.jpeg", "ants/4.jpeg", 0),
        ("cats/deep/er/2.PNG", "cats/deep/er/2.PNG", 1),
        ("dogs/1.jpg", "dogs/1.jpg", 2),
    }


def test_other_files_are_skipped_and_counted_by_extension(folder: Path) -> None:
    fill(folder, ["cats/1.jpg", "README.md", "cats/notes.txt", "cats/list.TXT", "cats/Makefile"])
    fill(folder, ["cats/.DS_Store", "cats/._1.jpg", "__MACOSX/cats/1.jpg", ".git/x.png"])
    found = listing(folder)
    assert [item.path for item in found.items] == ["cats/1.jpg"]
    assert found.num_skipped == {".md": 1, ".txt": 2, "hidden": 4, "no extension": 1}
    assert list(found.classes) == ["cats"]


def test_pictures_of_foreign_formats_are_listed_to_be_reported(folder: Path) -> None:
    fill(folder, ["cats/1.gif", "cats/2.heic", "cats/3.tiff"])
    assert len(listing(folder).items) == 3


def test_picture_beside_the_class_folders_is_a_dead_letter(folder: Path) -> None:
    fill(folder, ["cats/1.jpg", "stray.jpg"])
    found = listing(folder)
    assert [item.id for item in found.items] == ["cats/1.jpg"]
    assert [(letter.id, letter.reason) for letter in found.rejects] == [("stray.jpg", "no_class")]


def test_name_that_is_no_text_is_a_dead_letter(folder: Path) -> None:
    fill(folder, ["cats/1.jpg", "cats/bad\udcff.jpg"])
    found = listing(folder)
    assert [item.id for item in found.items] == ["cats/1.jpg"]
    assert [(letter.id, letter.reason) for letter in found.rejects] == [
        ("cats/bad\\udcff.jpg", "bad_name")
    ]


@pytest.mark.parametrize("name", ["cats/a b.jpg", "cats/100%.jpg", "cats/#1?.jpg", "cats/é.jpg"])
def test_unusual_names_can_be_read(folder: Path, name: str) -> None:
    fill(folder, [name], b"picture")
    source = FolderSource(ImageFolderSource(uri=str(folder)))
    items = source.listing().items
    assert source.read(items, concurrency=2) == [b"picture"]


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ([], "holds no pictures.*check its spelling"),
        (["cats/1.txt", "cats/2.txt"], r"only other files \(2 .txt\)"),
        (["1.jpg", "2.jpg"], "no class subfolders.*one subfolder per class"),
        (["train/1.jpg", "test/2.jpg"], "split folders with pictures, but no class subfolders"),
    ],
    ids=["empty", "no-pictures", "flat", "splits"],
)
def test_unusable_folder_is_one_clear_line(folder: Path, names: list[str], says: str) -> None:
    fill(folder, names)
    with pytest.raises(DataError, match=says) as caught:
        listing(folder)
    assert caught.value.field == "source.uri"
    assert "\n" not in str(caught.value)


def test_fingerprint_changes_with_names_and_sizes_and_not_otherwise(folder: Path) -> None:
    fill(folder, ["cats/1.jpg", "cats/2.jpg"])
    before = listing(folder).parent
    assert before.role == "source"
    assert before.kind == "image_folder"
    assert listing(folder).parent == before
    fill(folder, ["cats/notes.txt"])
    assert listing(folder).parent == before
    fill(folder, ["cats/3.jpg"])
    grown = listing(folder).parent
    assert grown.digest != before.digest
    fill(folder, ["cats/3.jpg"], b"more data")
    assert listing(folder).parent.digest != grown.digest


@pytest.mark.parametrize(("change", "says"), [("grow", "has changed"), ("delete", "deleted")])
def test_file_that_changes_after_the_listing_stops_the_job(
    folder: Path, change: str, says: str
) -> None:
    fill(folder, ["cats/1.jpg", "cats/2.jpg"])
    source = FolderSource(ImageFolderSource(uri=str(folder)))
    items = source.listing().items
    if change == "grow":
        fill(folder, ["cats/2.jpg"], b"other data")
    else:
        (folder / "cats/2.jpg").unlink()
    with pytest.raises(DataError, match=rf"cats/2.jpg.*{says}.*run again"):
        source.read(items, concurrency=2)
