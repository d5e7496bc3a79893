"""What the folders around pictures mean, for every verb: splits, classes, captions."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from darkroom.errors import DataError
from darkroom.jobs.pictures.folder import Classes, list_folder
from darkroom.jobs.pictures.listing import PictureListing
from darkroom.storage import parse_uri

Placed = list[tuple[str, str | None, str | None]]


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"data")
    return folder


def listing(
    folder: Path, classes: Classes = "needed", *, captioned: bool = False
) -> PictureListing:
    uri = parse_uri(str(folder))
    return list_folder(uri, field="input", classes=classes, captioned=captioned)


def placed(found: PictureListing) -> Placed:
    names = found.classes
    return [(i.path, i.split, None if i.label is None else names[i.label]) for i in found.items]


def letters(found: PictureListing) -> list[tuple[str, str]]:
    return [(letter.id, letter.reason) for letter in found.rejects]


SPLIT_NAMES = [
    *(("train", "training", "Train", "TRAINING"), ("validation", "valid", "val", "dev", "Val")),
    ("test", "testing", "eval", "evaluation", "Test"),
]


@pytest.mark.parametrize("train", SPLIT_NAMES[0])
@pytest.mark.parametrize("test", [*SPLIT_NAMES[1], *SPLIT_NAMES[2]])
def test_split_folders_are_splits_and_not_classes(tmp_path: Path, train: str, test: str) -> None:
    fill(tmp_path, f"{train}/cats/1.png", f"{train}/dogs/2.png", f"{test}/cats/3.png")
    found = listing(tmp_path)
    other = "validation" if test in SPLIT_NAMES[1] else "test"
    assert list(found.classes) == ["cats", "dogs"]
    assert sorted(placed(found)) == sorted(
        [
            (f"{train}/cats/1.png", "train", "cats"),
            (f"{train}/dogs/2.png", "train", "dogs"),
            (f"{test}/cats/3.png", other, "cats"),
        ]
    )


@pytest.mark.parametrize("names", [("train",), ("test",), ("train", "val", "test")])
def test_one_split_alone_and_all_three(tmp_path: Path, names: tuple[str, ...]) -> None:
    fill(tmp_path, *(f"{name}/{label}/1.png" for name in names for label in "ab"))
    found = listing(tmp_path)
    splits = {"train": "train", "val": "validation", "test": "test"}
    assert list(found.classes) == ["a", "b"]
    assert {item.split for item in found.items} == {splits[name] for name in names}


def test_splits_inside_the_classes_are_splits(tmp_path: Path) -> None:
    fill(tmp_path, "cats/train/1.png", "cats/test/2.png", "dogs/Training/3.png")
    assert placed(listing(tmp_path)) == [
        ("cats/test/2.png", "test", "cats"),
        ("cats/train/1.png", "train", "cats"),
        ("dogs/Training/3.png", "train", "dogs"),
    ]


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("train/cats/1.png", "test/cats/2.png", "extra/cats/3.png"), "test, train.*beside extra"),
        (("training/1.png", "testing/2.png", "cats/3.png"), "testing, training.*beside cats"),
        (("train/cats/1.png", "cats/2.png"), "train, which are splits, beside cats"),
        (("data/train/cats/1.png", "data/test/cats/2.png"), "holds one folder, data.*name .*/data"),
        (("train/images/1.png", "test/images/2.png"), "captions.json.*is missing.*metadata.jsonl"),
        (("train/1.png", "test/2.png"), "split folders.*no class subfolders in them.*metadata"),
        (("1.png", "2.png"), "no class subfolders.*name the folder above.*metadata.jsonl"),
    ],
)
def test_folders_that_mean_two_things_are_refused(
    tmp_path: Path, names: tuple[str, ...], says: str
) -> None:
    fill(tmp_path, *names)
    with pytest.raises(DataError, match=says) as caught:
        listing(tmp_path)
    assert caught.value.field == "input"


def test_trains_may_be_a_class(tmp_path: Path, darkroom_log: list[str]) -> None:
    fill(tmp_path, "boats/1.png", "cars/2.png", "train/3.png")
    found = listing(tmp_path)
    assert list(found.classes) == ["boats", "cars", "train"]
    assert {item.split for item in found.items} == {None}
    assert "train is read as a class, like boats, cars" in "\n".join(darkroom_log)


def test_how_much_classes_matter_is_the_verbs_choice(tmp_path: Path) -> None:
    flat = fill(tmp_path / "flat", "1.png")
    stray = fill(tmp_path / "stray", "1.png", "cats/2.png")
    odd = fill(tmp_path / "odd", "train/cats/1.png", "holiday/2.png")
    assert placed(listing(flat, "wanted")) == [("1.png", None, None)]
    assert placed(listing(stray, "wanted")) == [("cats/2.png", None, "cats")]
    assert letters(listing(stray, "wanted")) == [("1.png", "no_class")]
    assert len(listing(stray, "optional").items) == 2
    assert len(listing(odd, "optional").items) == 2
    deep = fill(tmp_path / "deep", "data/train/cats/1.png", "data/test/dogs/2.png")
    assert placed(listing(deep, "optional")) == [
        ("data/test/dogs/2.png", "test", "dogs"),
        ("data/train/cats/1.png", "train", "cats"),
    ]
    with pytest.raises(DataError, match="train, which are splits"):
        listing(odd, "wanted")


def test_a_class_spelt_in_two_ways_is_one(tmp_path: Path) -> None:
    apart, together = (unicodedata.normalize(form, "café") for form in ("NFD", "NFC"))
    fill(tmp_path, f"train/{apart}/1.png", f"test/{together}/2.png")
    found = listing(tmp_path)
    assert list(found.classes) == [together]
    assert {item.label for item in found.items} == {0}
    assert all(unicodedata.is_normalized("NFC", item.id) for item in found.items)


def test_what_cannot_be_read_is_a_dead_letter_and_no_class(
    tmp_path: Path, darkroom_log: list[str]
) -> None:
    root = fill(tmp_path, "cats/1.png", "notes/a.txt", "@eaDir/1.png", "cats/._1.png")
    (root / "cats/2.png").symlink_to("gone.png")
    (root / "dogs").symlink_to("/nowhere")
    found = listing(root)
    assert list(found.classes) == ["cats"]
    assert letters(found) == [("cats/2.png", "unreadable"), ("dogs", "unreadable")]
    assert found.num_skipped == {".txt": 1, "hidden": 2}
    assert "2 without a usable picture: dogs, notes" in "\n".join(darkroom_log)


def test_a_linked_class_folder_is_a_class(tmp_path: Path) -> None:
    fill(tmp_path / "elsewhere", "1.png", "2.png")
    root = fill(tmp_path / "in", "cats/1.png")
    (root / "dogs").symlink_to(tmp_path / "elsewhere")
    assert [item.path for item in listing(root).items] == ["cats/1.png", "dogs/1.png", "dogs/2.png"]


def test_nothing_but_broken_links_is_one_clear_line(tmp_path: Path) -> None:
    (fill(tmp_path, "cats/a.txt") / "cats/1.png").symlink_to("gone.png")
    with pytest.raises(DataError, match=r"no picture that can be read \(cats/1.png: is a link"):
        listing(tmp_path)
