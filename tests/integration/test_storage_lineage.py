"""Lineage follows a picture to its sources and names one changed byte, wherever it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from darkroom.config import JobConfig
from darkroom.errors import IntegrityError, ObjectNotFoundError
from darkroom.storage import (
    Artifact,
    Parent,
    get,
    lineage,
    open_output,
)

SOURCE = Parent("source", "sklearn:digits", "5" * 64, "digits")


def _publish(uri: str, kind: str, parents: list[Parent], files: dict[str, bytes]) -> Artifact:
    config = JobConfig(output=uri, on_existing="overwrite")
    with open_output(uri, kind=kind, config=config, parents=parents) as output:
        entries = [output.writer.write_bytes(name, data) for name, data in files.items()]
        return output.publish(entries, rows=len(files))


@pytest.fixture
def chain(store_uri: str) -> dict[str, Artifact]:
    """A small pipeline: source -> data -> checkpoint -> model -> samples."""
    data = _publish(f"{store_uri}/data", "dataset", [SOURCE], {"data/0": b"000", "data/1": b"1"})
    of_data = data.as_parent("data")
    checkpoint = _publish(
        f"{store_uri}/model/checkpoints/step-1-a", "checkpoint", [of_data], {"state": b"s"}
    )
    parents = [checkpoint.as_parent("checkpoint"), of_data]
    model = _publish(f"{store_uri}/model", "model", parents, {"model/weights": b"w"})
    samples = _publish(
        f"{store_uri}/samples",
        "samples",
        [model.as_parent("model")],
        {"images/0.png": b"picture", "table": b"t"},
    )
    return {"data": data, "checkpoint": checkpoint, "model": model, "samples": samples}


def test_a_picture_is_followed_to_its_source(chain: dict[str, Artifact]) -> None:
    samples = chain["samples"]
    tree = lineage(f"{samples.uri}#images/0.png")
    assert tree.ok
    assert tree.file == samples.entry("images/0.png")
    lines = [(node.role, node.uri, node.digest) for node in tree.root.walk()]
    model, checkpoint, data = (chain[name] for name in ("model", "checkpoint", "data"))
    source = ("source", "sklearn:digits", "5" * 64)
    of_data = ("data", str(data.uri), data.digest)
    assert lines == [
        ("", str(samples.uri), samples.digest),
        ("model", str(model.uri), model.digest),
        ("checkpoint", str(checkpoint.uri), checkpoint.digest),
        of_data,
        source,
        of_data,
        source,
    ]
    text = tree.text()
    for expected in ("images/0.png", str(model.uri), str(checkpoint.uri), "sklearn:digits"):
        assert expected in text
    assert text.endswith("of what Darkroom published, every digest verified")
    assert "not verified: sklearn:digits  (outside Darkroom)" in text
    values = json.loads(json.dumps(tree.to_dict()))
    assert (values["ok"], values["not_verified"]) == (True, ["sklearn:digits"])


def test_a_picture_may_be_given_in_several_ways(chain: dict[str, Artifact], tmp_path: Path) -> None:
    samples = chain["samples"]
    entry = samples.entry("images/0.png")
    folder = get(samples.uri, tmp_path / "fetched", prefix="images/")
    for text in (f"{samples.uri}/{entry.name}", f"{samples.uri}/{entry.key}", folder / "0.png"):
        tree = lineage(text)
        assert (tree.ok, tree.file, tree.root.digest) == (True, entry, samples.digest)
    assert lineage(samples.uri).file is None


def test_what_is_not_there_is_said(chain: dict[str, Artifact], store_uri: str) -> None:
    with pytest.raises(ObjectNotFoundError, match=r"has no file 'images/9\.png'"):
        lineage(f"{store_uri}/samples#images/9.png")
    with pytest.raises(ObjectNotFoundError, match=r"has no file 'images/9\.png'"):
        lineage(f"{store_uri}/samples/images/9.png")
    with pytest.raises(ObjectNotFoundError, match="neither an artifact nor a file of one"):
        lineage(f"{store_uri}/elsewhere/x.png")


@pytest.mark.parametrize("where", ["data", "checkpoint", "model", "samples"])
@pytest.mark.parametrize("how", ["flip", "truncate", "delete"])
def test_one_changed_file_is_named(chain: dict[str, Artifact], where: str, how: str) -> None:
    artifact = chain[where]
    entry = artifact.manifest.files[0]
    data = artifact.store.get(entry.key)
    if how == "delete":
        artifact.store.delete([entry.key])
    else:
        changed = bytes([data[0] ^ 1]) + data[1:] if how == "flip" else data[:-1]
        artifact.store.put(entry.key, changed)
    tree = lineage(f"{chain['samples'].uri}#table")
    assert not tree.ok
    (problem,) = tree.problems
    assert str(artifact.uri) in problem
    assert entry.key in problem
    assert problem in tree.text()
    damaged = {node.uri for node in tree.root.walk() if node.problems}
    assert damaged == {str(artifact.uri)}
    # Without reading the files only the manifests can speak.
    unread = lineage(f"{chain['samples'].uri}#table", verify=False)
    assert unread.ok
    assert "verified" not in unread.text()
    assert not any(ancestor.verified for ancestor in unread.root.walk())


def test_a_parent_that_was_published_again_is_named(chain: dict[str, Artifact]) -> None:
    data = chain["data"]
    new = _publish(str(data.uri), "dataset", [SOURCE], {"data/0": b"other"})
    (problem,) = lineage(chain["samples"].uri).problems
    assert str(data.uri) in problem
    assert data.digest[:12] in problem
    assert new.digest[:12] in problem


@pytest.mark.parametrize("content", [None, b"{", b"{}"])
def test_a_parent_whose_manifest_is_gone_or_damaged_is_named(
    chain: dict[str, Artifact], content: bytes | None
) -> None:
    store = chain["model"].store
    if content is None:
        store.delete(["manifest.json"])
    else:
        store.put("manifest.json", content)
    (problem,) = lineage(chain["samples"].uri).problems
    assert str(chain["model"].uri) in problem


def test_a_fetched_picture_that_was_changed_is_named(
    chain: dict[str, Artifact], tmp_path: Path
) -> None:
    picture = get(chain["samples"].uri, tmp_path / "fetched") / "images/0.png"
    picture.write_bytes(b"Picture")
    (problem,) = lineage(picture).problems
    assert problem == f"{picture} was changed since it was fetched"


def test_a_fetched_folder_is_followed_too(chain: dict[str, Artifact], tmp_path: Path) -> None:
    samples = chain["samples"]
    folder = get(samples.uri, tmp_path / "fetched")
    for path in (folder, folder / "images"):
        tree = lineage(path)
        assert (tree.ok, tree.file, tree.root.uri) == (True, None, str(samples.uri))
    (folder / "images/0.png").write_bytes(b"x")
    (folder / "table").unlink()
    assert lineage(folder, verify=False).ok
    changed = f"{folder}/images/0.png was changed since it was fetched"
    assert lineage(folder / "images").problems == [changed]
    gone = f"{folder}/table is gone since it was fetched"
    assert sorted(lineage(folder).problems) == [changed, gone]
    _publish(str(samples.uri), "samples", [], {"images/0.png": b"picture"})
    with pytest.raises(IntegrityError, match="was published again after"):
        lineage(folder)
