"""A class of which nothing can be used does not stay a class."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from tests.helpers.idx_files import idx_pair
from tests.helpers.pictures import encoded, thumbnail

from darkroom.config import build_config
from darkroom.jobs.pictures.listing import PictureListing
from darkroom.jobs.prepare.config import PrepareConfig
from darkroom.jobs.prepare.empty_classes import without_empty_classes
from darkroom.jobs.prepare.sources import open_source

GOOD = encoded(thumbnail(), "PNG")


def usable(folder: Path, files: dict[str, bytes], kind: str = "image_folder") -> PictureListing:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    source = {"kind": kind, "uri": str(folder)}
    config = build_config(PrepareConfig, {"source": source, "output": "out"})
    return without_empty_classes(open_source(config.source).listing(), config)


def test_a_class_without_a_usable_picture_is_left_out_and_said(
    tmp_path: Path, darkroom_log: list[str]
) -> None:
    files = {
        "ants/1.png": GOOD[:100],
        "ants/2.png": b"",
        "bees/1.png": b"",  # the smallest is bad, another good
        "bees/2.png": GOOD,
        "cats/1.png": GOOD,
    }
    found = usable(tmp_path, files)
    assert list(found.classes) == ["bees", "cats"]
    assert [(item.path, item.label) for item in found.items] == [
        ("bees/1.png", 0),
        ("bees/2.png", 0),
        ("cats/1.png", 1),
    ]
    assert {(letter.id, letter.reason) for letter in found.rejects} == {
        ("ants/1.png", "truncated"),
        ("ants/2.png", "empty"),
    }
    said = "class ants has no picture that can be used (1 empty, 1 truncated)"
    assert said in "\n".join(darkroom_log)


def test_labels_of_mnist_files_that_no_picture_has_are_no_classes(
    tmp_path: Path, darkroom_log: list[str]
) -> None:
    labels = np.array([1, 9, 3, 1], np.uint8)
    images = np.zeros((4, 16, 16), np.uint8)
    files = idx_pair("train", images, labels)
    found = usable(tmp_path, files, "idx")
    assert list(found.classes) == ["1", "3", "9"]
    assert [found.classes[item.label or 0] for item in found.items] == ["1", "9", "3", "1"]
    assert not found.rejects
    said = "7 classes have no picture (0, 2, 4, 5, 6, ...): they are left out"
    assert said in "\n".join(darkroom_log)


def test_a_class_of_captions_alone_is_left_out(tmp_path: Path) -> None:
    captions = [
        {"file_name": "1.png", "caption": "a bee", "label": "bees"},
        {"file_name": "gone.png", "caption": "an ant", "label": "ants"},
        {"file_name": "2.png", "caption": "nothing"},
    ]
    files = {f"train/images/{name}.png": GOOD for name in "12"}
    files["train/captions.json"] = json.dumps(captions).encode()
    found = usable(tmp_path, files, "captions")
    assert list(found.classes) == ["bees"]
    assert [item.label for item in found.items] == [0, None]


def test_many_bad_files_before_a_good_one(tmp_path: Path) -> None:
    files = {f"ants/{number:03d}.png": b"" for number in range(150)}
    assert list(usable(tmp_path, {**files, "ants/z.png": GOOD}).classes) == ["ants"]
