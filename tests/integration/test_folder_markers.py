"""Empty objects named "folder/", which consoles and other tools make, are no files to anybody."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from PIL import Image
from tests.conftest import TEST_BUCKET
from tests.helpers.tiny_artifacts import publish_model

from darkroom.config import JobConfig
from darkroom.errors import OutputExistsError
from darkroom.jobs.classify.config import ClassifyConfig
from darkroom.jobs.classify.source import find_pictures
from darkroom.jobs.prepare.config import CaptionsSource, ImageFolderSource
from darkroom.jobs.prepare.sources import open_source
from darkroom.models.find import find_model
from darkroom.models.unet import load_unet
from darkroom.storage import check, gc, get, lineage, ls, open_artifact, open_output, open_store
from darkroom.storage.s3_client import connect
from darkroom.storage.uri import parse_uri


def _mark(uri: str, *folders: str) -> None:
    """As the AWS console's "Create folder" does, for the URI itself and folders in it."""
    key = parse_uri(uri).key
    for name in ("", *(f"{folder}/" for folder in folders)):
        connect().client.put_object(Bucket=TEST_BUCKET, Key=f"{key}/{name}", Body=b"")


def _png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(file, "PNG")
    return file.getvalue()


def test_a_listing_has_files_only(bucket_uri: str) -> None:
    _mark(bucket_uri, "sub", "empty")
    store = open_store(bucket_uri)
    store.put("sub/x", b"1")
    assert [info.key for info in store.list()] == ["sub/x"]
    assert sorted(info.key for info in store.list(markers=True)) == ["", "empty/", "sub/", "sub/x"]
    assert list(store.children()) == [("empty/", None), ("sub/", None)]
    assert list(store.children("sub/")) == [("x", 1)]
    assert [(entry.name, entry.kind) for entry in ls(bucket_uri).entries] == [
        ("empty/", "folder"),
        ("sub/", "folder"),
    ]
    assert check(bucket_uri).ok


def test_an_empty_folder_is_an_output(bucket_uri: str, tmp_path: Path) -> None:
    _mark(bucket_uri, "made by hand", "attempts")
    config = JobConfig(output=bucket_uri)
    with open_output(bucket_uri, kind="model", config=config) as output:
        _mark(bucket_uri, output.writer.prefix.rstrip("/"), "data")
        output.publish([output.writer.write_bytes("data/x", b"1")])
    assert lineage(bucket_uri).ok
    assert (get(bucket_uri, tmp_path / "got") / "data/x").read_bytes() == b"1"
    full = f"{bucket_uri}-full"
    _mark(full)
    open_store(full).put("raw/x", b"1")
    with pytest.raises(OutputExistsError, match="raw"):
        open_output(full, kind="model", config=JobConfig(output=full))


def test_garbage_goes_with_its_markers(bucket_uri: str) -> None:
    attempt = f"attempts/{'a' * 32}"
    _mark(bucket_uri, "attempts", attempt, f"{attempt}/data")
    open_store(bucket_uri).put(f"{attempt}/data/x", b"1")
    report = gc(bucket_uri, timedelta(seconds=-60), delete=True)
    assert [item.key for item in report.garbage] == [f"{attempt}/"]
    left = {info.key for info in open_store(bucket_uri).list(markers=True)}
    assert left <= {"", "attempts/"}


def test_a_model_is_loaded(bucket_uri: str) -> None:
    artifact = publish_model(bucket_uri)
    _mark(bucket_uri, "attempts", "model", "model/unet")
    load_unet(open_artifact(bucket_uri))
    mirror = f"{bucket_uri}-mirror"
    _mark(mirror, "unet")
    for entry in artifact.entries("model/"):
        open_store(mirror).put(entry.name.removeprefix("model/"), artifact.read_bytes(entry.name))
    with find_model(mirror, field="model").local() as folder:
        assert json.loads((folder / "model_index.json").read_bytes())
    _mark(mirror, "scheduler")
    with find_model(mirror, field="model").local() as folder:
        assert (folder / "unet/config.json").is_file()


def _image_folder(uri: str) -> list[str]:
    return [item.path for item in open_source(ImageFolderSource(uri=uri)).listing().items]


def _classified(uri: str) -> list[str]:
    found = find_pictures(ClassifyConfig(input=uri, output=f"{uri}-out"))
    return list(found.rows["path"].to_pylist())


@pytest.mark.parametrize("read", [_image_folder, _classified])
def test_class_folders_are_read(bucket_uri: str, read: Callable[[str], list[str]]) -> None:
    _mark(bucket_uri, "cat", "dog", "empty", "cat/x.png")
    for name in ("cat/0.png", "dog/0.png"):
        open_store(bucket_uri).put(name, _png())
    assert read(bucket_uri) == ["cat/0.png", "dog/0.png"]


def test_captioned_folders_are_read(bucket_uri: str) -> None:
    _mark(bucket_uri, "train", "train/images", "validation")
    open_store(bucket_uri).put("train/images/0.png", _png())
    open_store(bucket_uri).put("train/captions.json", b'{"0.png": "a red square"}')
    listing = open_source(CaptionsSource(uri=bucket_uri)).listing()
    assert [item.path for item in listing.items] == ["train/images/0.png"]
