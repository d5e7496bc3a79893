"""Listing what is to be classified."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.helpers.pictures import encoded, thumbnail
from tests.helpers.tiny_artifacts import publish_digits

from darkroom.errors import DataError, IntegrityError
from darkroom.jobs.classify.config import ClassifyConfig
from darkroom.jobs.classify.source import find_pictures, open_reader
from darkroom.jobs.pictures.config import LimitsConfig
from darkroom.jobs.rejects import Rejects
from darkroom.storage import Parent

JPEG = encoded(thumbnail())


def config(folder: Path, **changes: object) -> ClassifyConfig:
    return ClassifyConfig(input=str(folder), output=str(folder / "../out")).model_copy(
        update=changes
    )


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(JPEG)
    return folder


def test_classes_are_the_first_folders_and_none_is_needed(tmp_path: Path) -> None:
    fill(tmp_path / "in", "b/x/2.jpg", "a/1.png", "loose.webp", ".hidden.jpg", "notes.txt")
    pictures = find_pictures(config(tmp_path / "in"))
    assert pictures.rows["id"].to_pylist() == ["a/1.png", "b/x/2.jpg", "loose.webp"]
    assert pictures.rows["expected"].to_pylist() == ["a", "b", None]
    assert pictures.classes == ["a", "b"]
    assert pictures.num_skipped == {".txt": 1, "hidden": 1}


def test_a_limit_takes_from_all_classes_and_is_the_same_again(tmp_path: Path) -> None:
    folder = fill(tmp_path / "in", *(f"{name}/{i:02d}.jpg" for name in "abcd" for i in range(20)))
    first = find_pictures(config(folder, limit=20)).rows
    again = find_pictures(config(folder, limit=20)).rows
    other = find_pictures(config(folder, limit=20, seed=1)).rows
    assert first.equals(again)
    assert not first.equals(other)
    assert first["id"].to_pylist() == sorted(first["id"].to_pylist())
    assert set(first["expected"].to_pylist()) == set("abcd")


def test_the_parent_names_the_very_files(tmp_path: Path) -> None:
    folder = fill(tmp_path / "in", "a/1.jpg", "a/2.jpg")
    before = find_pictures(config(folder)).parent.digest
    assert find_pictures(config(folder)).parent.digest == before
    (folder / "a/2.jpg").write_bytes(JPEG + b"\0")
    assert find_pictures(config(folder)).parent.digest != before


@pytest.mark.parametrize("names", [(), ("notes.txt", "a/table.csv")], ids=["empty", "others"])
def test_a_folder_without_pictures_is_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    folder = fill(tmp_path / "in", *names)
    folder.mkdir(exist_ok=True)
    with pytest.raises(DataError, match="holds no pictures"):
        find_pictures(config(folder))


def test_a_file_is_no_folder_of_pictures(tmp_path: Path) -> None:
    fill(tmp_path, "one.jpg")
    with pytest.raises(DataError, match="is a file and no folder of pictures"):
        find_pictures(config(tmp_path / "one.jpg"))


def test_large_files_are_rejected_unread_and_changed_ones_stop_the_job(tmp_path: Path) -> None:
    folder = fill(tmp_path / "in", "a/1.jpg", "a/2.jpg")
    (folder / "a/2.jpg").write_bytes(JPEG + bytes(10))
    settings = config(folder, limits=LimitsConfig(max_bytes=len(JPEG)))
    pictures = find_pictures(settings)
    rows, reader = pictures.rows, open_reader(settings, pictures.origin)
    rejects = Rejects("read")
    assert reader.read(rows, rejects) == [JPEG, None]
    assert [(reject.id, reject.reason) for reject in rejects.found] == [
        ("a/2.jpg", "too_many_bytes")
    ]
    (folder / "a/1.jpg").write_bytes(JPEG[:-1])
    with pytest.raises(DataError, match=r"a/1\.jpg.* has changed since it was listed"):
        reader.read(rows, Rejects("read"))


def test_data_that_are_published_anew_are_not_read_as_those_that_were_listed(
    tmp_path: Path,
) -> None:
    publish_digits(tmp_path / "data")
    settings = config(tmp_path / "data", split="test")
    pictures = find_pictures(settings)
    shutil.rmtree(tmp_path / "data")
    publish_digits(tmp_path / "data", parents=[Parent("source", "other", "5" * 64, "digits")])
    with pytest.raises(IntegrityError, match="was published anew while this run read it"):
        open_reader(settings, pictures.origin).read(pictures.rows, Rejects("read"))


def test_a_split_of_a_folder_with_split_folders(tmp_path: Path) -> None:
    folder = fill(tmp_path / "in", "train/a/1.jpg", "val/a/2.jpg", "val/b/3.jpg")
    rows = find_pictures(config(folder, split="validation")).rows
    assert rows["path"].to_pylist() == ["val/a/2.jpg", "val/b/3.jpg"]
    assert rows["expected"].to_pylist() == ["a", "b"]
    with pytest.raises(DataError, match=r"split: got 'test', has no pictures"):
        find_pictures(config(folder, split="test"))
