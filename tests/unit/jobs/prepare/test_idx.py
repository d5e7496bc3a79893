"""IDX files: what is read, how the files decide the split, and what is refused in one line."""

from __future__ import annotations

import gzip
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.helpers.idx_files import idx_bytes, idx_pair

from darkroom.errors import DataError
from darkroom.jobs.prepare.config import IdxSource
from darkroom.jobs.prepare.idx import IdxFiles, parse_idx

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (40, 5, 4), dtype=np.uint8)
LABELS = (np.arange(40) % 3).astype(np.uint8)


def source(folder: Path, files: dict[str, bytes], **values: Any) -> IdxFiles:
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return IdxFiles(IdxSource(uri=str(folder), **values))


def refusal(folder: Path, files: dict[str, bytes], **values: Any) -> str:
    with pytest.raises(DataError) as caught:
        source(folder, files, **values).listing()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("zipped", [False, True])
def test_pictures_and_labels_are_the_arrays(tmp_path: Path, zipped: bool) -> None:
    files = idx_pair("train", IMAGES, LABELS, zipped=zipped)
    idx = source(tmp_path, files, validation_share=0.0)
    items = idx.listing().items
    assert [item.label for item in items] == LABELS.tolist()
    assert len({item.id for item in items}) == 40
    decoded = [np.asarray(Image.open(io.BytesIO(data))) for data in idx.read(items, concurrency=2)]
    assert np.array_equal(np.stack(decoded), IMAGES)


def test_files_decide_the_split(tmp_path: Path) -> None:
    files = idx_pair("train", IMAGES, LABELS) | idx_pair("t10k", IMAGES[:10], LABELS[:10])
    items = source(tmp_path, files, validation_share=0.25).listing().items
    splits = [item.split for item in items]
    assert splits[40:] == ["test"] * 10
    assert (splits.count("train"), splits.count("validation")) == (30, 10)
    files = idx_pair("validation", IMAGES[:5], LABELS[:5])
    items = source(tmp_path, files, validation_share=0.25).listing().items
    assert [item.split for item in items].count("validation") == 5


def test_colour_and_names_with_a_dot(tmp_path: Path) -> None:
    colour = RNG.integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)
    files = {
        "train-images.idx3-ubyte": idx_bytes(colour),
        "train-labels.idx1-ubyte": idx_bytes(LABELS[:6]),
    }
    idx = source(tmp_path, files)
    (data,) = idx.read(idx.listing().items[2:3], concurrency=1)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), colour[2])


def test_classes_may_be_named(tmp_path: Path) -> None:
    files = idx_pair("train", IMAGES, LABELS)
    assert source(tmp_path, files).listing().classes == ["0", "1", "2"]
    named = source(tmp_path, files, classes=("shirt", "shoe", "bag"))
    assert named.listing().classes == ["shirt", "shoe", "bag"]
    line = refusal(tmp_path, files, classes=("shirt",))
    assert "names 1 classes, and labels go up to 2; name every class" in line


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("shoe", "bag", "shoe"), "has 'shoe' twice; give each class a name of its own"),
        (("Cafe\u0301", "bag", "Caf\u00e9"), "has 'Caf\u00e9' twice"),
        (("shoe", "bag", " shoe"), "has 'shoe' twice"),
        (("shoe", "bag", " "), "has a name of nothing but spaces"),
    ],
)
def test_two_classes_never_have_one_name(names: tuple[str, ...], says: str, tmp_path: Path) -> None:
    line = refusal(tmp_path, idx_pair("train", IMAGES, LABELS), classes=names)
    assert line.startswith("source.classes: got [")
    assert says in line


@pytest.mark.parametrize(
    ("files", "line"),
    [
        ({}, "holds no train-images-idx3-ubyte"),
        ({"train-images-idx3-ubyte": idx_bytes(IMAGES)}, "has no labels beside it"),
        ({"train-labels-idx1-ubyte": idx_bytes(LABELS)}, "has no images beside it"),
        (idx_pair("train", IMAGES, LABELS[:39]), "holds 39 labels for 40 images"),
        (idx_pair("train", IMAGES[:, :0], LABELS), "holds an array of shape [40, 0, 4]"),
        (idx_pair("train", LABELS, LABELS), "holds an array of shape [40]"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, files: dict[str, bytes], line: str) -> None:
    assert line in refusal(tmp_path, files)


GOOD = idx_bytes(IMAGES)
ZIPPED = idx_bytes(IMAGES, zipped=True)


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"none", "begins with 6e 6f 6e 65"),
        (b"\0\0\x0d\x01" + GOOD[4:], "begins with 00 00 0d 01"),  # floats
        (GOOD[:-1], "claims the shape [40, 5, 4], 800 bytes, and holds 799"),
        (GOOD + b"x", "and holds more"),
        (ZIPPED[:-30], "does not decompress"),
        (ZIPPED[:40] + b"\xff\xff\xff" + ZIPPED[43:], "decompress|holds|begins"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "claims 79228162458924105385300197375 bytes"),
        (gzip.compress(b"\0\0\x08\x01\0\0\0\x05" + bytes(10**7)), "and holds more"),
    ],
)
def test_damage_is_named(data: bytes, line: str) -> None:
    with pytest.raises(DataError, match=line if "|" in line else re.escape(line)):
        parse_idx(data, where="s3://b/train-images-idx3-ubyte")


def test_a_file_that_changed_since_it_was_listed_is_refused(tmp_path: Path) -> None:
    idx = source(tmp_path, idx_pair("train", IMAGES, LABELS))
    items = idx.listing().items
    from darkroom.jobs.prepare.idx import _read_cached

    _read_cached.cache_clear()  # as in another process
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx_bytes(IMAGES[::-1]))
    with pytest.raises(DataError, match="has changed since it was listed"):
        idx.read(items[:1], concurrency=1)
