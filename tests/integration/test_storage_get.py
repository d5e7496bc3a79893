"""Published things as people fetch and list them: whole and verified, or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from darkroom.config import JobConfig
from darkroom.errors import IntegrityError, ObjectNotFoundError, OutputExistsError
from darkroom.storage import Artifact, get, ls, open_artifact, open_output, open_store

FILES = {"images/0.png": b"picture", "table": b"t"}


def _publish(uri: str, files: dict[str, bytes], kind: str = "samples") -> Artifact:
    config = JobConfig(output=uri, on_existing="overwrite")
    with open_output(uri, kind=kind, config=config) as output:
        entries = [output.writer.write_bytes(name, data) for name, data in files.items()]
        return output.publish(entries)


@pytest.fixture
def samples(store_uri: str) -> Artifact:
    """A published folder of pictures."""
    return _publish(f"{store_uri}/samples", FILES)


def _contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def test_get_makes_a_plain_folder(samples: Artifact, tmp_path: Path) -> None:
    folder = get(samples.uri, tmp_path / "new/plain")
    assert folder == tmp_path / "new/plain"
    assert _contents(folder) == FILES
    assert [path.name for path in folder.parent.iterdir()] == ["plain"]
    before = (folder / "table").stat().st_mtime_ns
    assert get(samples.uri, folder) == folder
    assert (folder / "table").stat().st_mtime_ns == before  # the same already: left as it is
    empty = tmp_path / "empty"
    empty.mkdir()
    assert _contents(get(samples.uri, empty)) == FILES


def test_get_does_not_touch_what_is_there(samples: Artifact, tmp_path: Path) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    with pytest.raises(OutputExistsError, match="holds other files"):
        get(samples.uri, tmp_path)
    with pytest.raises(OutputExistsError, match=r"earlier get \(mine\.txt\)"):
        get(samples.uri, tmp_path, overwrite=True)
    with pytest.raises(OutputExistsError, match="is a file"):
        get(samples.uri, mine)
    assert _contents(tmp_path)["mine.txt"] == b"mine"


def test_get_replaces_what_an_earlier_one_wrote(samples: Artifact, tmp_path: Path) -> None:
    folder = get(samples.uri, tmp_path / "plain")
    new = _publish(str(samples.uri), {"images/1.png": b"new"})
    with pytest.raises(OutputExistsError, match="give --overwrite"):
        get(new.uri, folder)
    assert _contents(folder) == FILES
    get(new.uri, folder, overwrite=True)
    assert _contents(folder) == {"images/1.png": b"new"}
    assert [path.name for path in tmp_path.iterdir() if path.name != "output"] == ["plain"]


@pytest.mark.parametrize("how", ["flip", "delete"])
def test_get_of_damaged_bytes_leaves_nothing(samples: Artifact, tmp_path: Path, how: str) -> None:
    key = samples.entry("table").key
    if how == "flip":
        samples.store.put(key, b"u")
    else:
        samples.store.delete([key])
    with pytest.raises((IntegrityError, ObjectNotFoundError), match="table"):
        get(samples.uri, tmp_path / "plain")
    assert [path.name for path in tmp_path.iterdir() if path.name != "output"] == []


def test_ls_shows_the_level_and_the_files(samples: Artifact, store_uri: str) -> None:
    _publish(f"{store_uri}/data", {"data/0": b"0000"}, "dataset")
    open_store(store_uri).put("notes.txt", b"12345")
    open_store(store_uri).put("plain/x", b"1")
    listing = ls(store_uri)
    assert listing.artifact is None
    assert {(entry.name, entry.kind, entry.num_bytes) for entry in listing.entries} == {
        ("data/", "dataset", 4),
        ("samples/", "samples", 8),
        ("notes.txt", "file", 5),
        ("plain/", "folder", None),
    }
    files = ls(samples.uri)
    assert files.artifact is not None
    assert [(entry.name, entry.num_bytes) for entry in files.entries] == [
        ("images/0.png", 7),
        ("table", 1),
    ]
    assert "samples" in files.text().splitlines()[0]
    assert json.loads(json.dumps(files.to_dict()))["artifact"]["kind"] == "samples"
    assert json.loads(json.dumps(listing.to_dict()))["entries"]
    open_store(f"{store_uri}/data").put("manifest.json", b"{")
    assert ("data/", "unreadable manifest.json") in {
        (entry.name, entry.kind) for entry in ls(store_uri).entries
    }
    assert len(ls(store_uri).text().splitlines()) == 4


def test_ls_of_nothing_says_so(store_uri: str) -> None:
    with pytest.raises(ObjectNotFoundError, match="nothing is at"):
        ls(f"{store_uri}/nowhere")


@pytest.mark.parametrize("how", ["flip", "truncate", "extend", "delete"])
def test_no_damaged_byte_is_ever_returned(store_uri: str, tmp_path: Path, how: str) -> None:
    artifact = _publish(store_uri, {"data/x": b"0123456789"})
    key = artifact.entry("data/x").key
    if how == "delete":
        artifact.store.delete([key])
    else:
        changes = {"flip": b"1123456789", "truncate": b"012345678", "extend": b"01234567890"}
        artifact.store.put(key, changes[how])
    reader = open_artifact(store_uri)
    for read in (
        lambda: reader.read_bytes("data/x"),
        lambda: reader.download(tmp_path / "down"),
        reader.verify,
    ):
        with pytest.raises((IntegrityError, ObjectNotFoundError), match="data/x"):
            read()
