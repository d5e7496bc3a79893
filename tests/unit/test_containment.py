"""No name from outside leads out of the folder it is meant for, wherever such a name is read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from darkroom.config import JobConfig
from darkroom.errors import DarkroomError, DataError
from darkroom.jobs.batch.commits import parse_commit
from darkroom.jobs.prepare.config import CaptionsSource
from darkroom.jobs.prepare.sources import open_source
from darkroom.models import find, unet
from darkroom.storage import (
    ObjectInfo,
    RunPointer,
    gc,
    get,
    lineage,
    ls,
    open_artifact,
    open_output,
)
from darkroom.storage.local import LocalStore
from darkroom.storage.manifest import sealed_json
from darkroom.storage.names import check_name, make_files
from darkroom.storage.uri import parse_uri

ABSOLUTE = "/tmp/darkroom-escaped"  # noqa: S108
LEADING_OUT = ["../../escaped", "a/../../../escaped", ABSOLUTE, "//escaped", ".."]
UNFIT = [
    "", ".", "./x", "a/./b", "a//b", "a/", "a\\..\\b", "..\\x", "C:\\x", "C:x", "n\0l", "a\nb",
    "x" * 256, "\ud800", 5, None, ["x"],
]  # fmt: skip
HOSTILE = [*LEADING_OUT, "", "a\\..\\b", "n\0l", 5]

Place = Callable[[Path, Any], object]


def _publish(root: Path, *names: str, kind: str = "model") -> str:
    uri = f"file://{root}/artifact"
    with open_output(uri, kind=kind, config=JobConfig(output=uri)) as output:
        files = [output.writer.write_bytes(name, b"{}") for name in names or ("model/unet/x",)]
        output.publish(files)
    return uri


def _reseal(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """What anybody who may write there can do: change a document and seal it again."""
    values = json.loads(path.read_bytes())
    del values["seal"]
    change(values)
    path.write_bytes(sealed_json(values))


def _published(root: Path, name: Any, field: str = "name") -> str:
    uri = _publish(root)

    def change(values: dict[str, Any]) -> None:
        values["files"][0][field] = f"model/unet/{name}" if _below(name, field) else name

    _reseal(root / "artifact/manifest.json", change)
    return uri


def _below(name: Any, field: str) -> bool:
    return field == "name" and isinstance(name, str) and name in LEADING_OUT


def _place_get(root: Path, name: Any) -> object:
    return get(_published(root, name), root / "deep/down/target", prefix="model/unet/")


def _place_get_key(root: Path, name: Any) -> object:
    return get(_published(root, name, "key"), root / "deep/down/target")


def _place_download(root: Path, name: Any) -> object:
    return open_artifact(_published(root, name)).download(root / "deep/down/target")


def _place_ls(root: Path, name: Any) -> object:
    return ls(_published(root, name))


def _place_lineage(root: Path, name: Any) -> object:
    return lineage(_published(root, name))


def _place_load(root: Path, name: Any) -> object:
    return unet.load_unet(open_artifact(_published(root, name)))


def _place_model(root: Path, name: Any) -> object:
    with find.find_model(_published(root, name), field="model").local() as folder:
        return folder


def _place_listed_model(root: Path, name: Any) -> object:
    """Keys of a bucket, where nothing stops a name."""
    (root / "mirror").mkdir()
    store = _Listed(f"file://{root}/mirror", name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(find, "open_store", lambda _: store)
        uri = parse_uri("s3://bucket/mirror")
        folder = find.FoundModel("m", uri, "0", "folder", ((name, 1),))
        with folder.local() as path:
            assert not any(Path(path).iterdir())  # what is hidden is left out
            raise DarkroomError


class _Listed(LocalStore):
    """A server whose listing holds `name`."""

    def __init__(self, root: str, name: Any) -> None:
        super().__init__(parse_uri(root))
        self._name = name

    def list(self, prefix: str = "", *, markers: bool = False) -> Iterator[ObjectInfo]:  # noqa: ARG002
        yield ObjectInfo(self._name, 1, None, datetime.now(UTC))


def _place_checkpoint(root: Path, name: Any) -> object:
    run = f"file://{root}/run"
    config = JobConfig(output=run)
    pointer = RunPointer.claim(run, owner="me", config=config)
    uri = f"{run}/checkpoints/step-1"
    with open_output(uri, kind="checkpoint", config=config) as output:
        checkpoint = output.publish([output.writer.write_bytes("state", b"1")])
    pointer.advance(step=1, checkpoint=checkpoint)

    def rename(values: dict[str, Any]) -> None:
        values["files"][0]["name"] = name

    _reseal(root / "run/checkpoints/step-1/manifest.json", rename)
    return pointer.newest_valid(root / "deep/down/target")


def _place_pointer(root: Path, name: Any) -> object:
    """What a pointer retires is deleted."""
    run = f"file://{root}/run"
    RunPointer.claim(run, owner="me", config=JobConfig(output=run))
    _reseal(root / "run/latest.json", lambda values: values.update(retired=[name]))
    return RunPointer.claim(run, owner="you", config=JobConfig(output=run))


def _place_commit(root: Path, name: Any) -> object:
    file = {"name": name, "key": "attempts/x", "size": 1, "sha256": "0", "rows": 1, "metadata": {}}
    values = {"version": 1, "piece": 0, "ids_digest": "", "num_rows": 1, "rejects": []}
    return parse_commit(json.dumps({**values, "files": [file]}).encode(), uri="commit")


def _place_writer(root: Path, name: Any) -> object:
    uri = f"file://{root}/deep/down/target"
    with open_output(uri, kind="model", config=JobConfig(output=uri)) as output:
        return output.writer.write_bytes(name, b"x")


def _place_shards(root: Path, name: Any) -> object:
    index = json.dumps({"weight_map": {"layer": name}}).encode()
    return _local_model(root, "diffusion_pytorch_model.safetensors.index.json", index)


def _place_pipeline(root: Path, name: Any) -> object:
    return _local_model(root, "model_index.json", json.dumps({"unet": [name, "UNet"]}).encode())


def _place_subfolder(root: Path, name: Any) -> object:
    index = {name if isinstance(name, str) else "..": ["diffusers", "UNet2DModel"]}
    return _local_model(root, "model_index.json", json.dumps(index).encode())


def _local_model(root: Path, name: str, data: bytes) -> object:
    folder = root / "mirror"
    folder.mkdir()
    (folder / name).write_bytes(data)
    with find.find_model(str(folder), field="model").local() as path:
        return path


PLACES: list[Place] = [
    _place_get, _place_get_key, _place_download, _place_ls, _place_lineage, _place_load,
    _place_model, _place_listed_model, _place_checkpoint, _place_pointer, _place_commit,
    _place_writer, _place_shards, _place_pipeline, _place_subfolder,
]  # fmt: skip


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__.removeprefix("_place_"))
def test_no_name_leads_out(place: Place, tmp_path: Path) -> None:
    for number, name in enumerate(HOSTILE):
        root = tmp_path / str(number) / "root"
        root.mkdir(parents=True)
        with pytest.raises(DarkroomError):
            place(root, name)
        assert [path.name for path in root.parent.iterdir()] == ["root"], name
        target = root / "deep/down/target"
        left = {path for path in root.glob("deep/**/*") if not path.is_relative_to(target)}
        assert left <= {target.parent}, name
        assert not [path for path in target.rglob("*") if path.is_file()], name
        assert not Path(ABSOLUTE).exists()


@pytest.mark.parametrize("name", [*LEADING_OUT, *UNFIT], ids=repr)
def test_a_bad_name_is_refused_in_one_line(name: Any) -> None:
    with pytest.raises(
        DataError, match=r"^s3://b/x: (got .*, )?is no plain file name: it .*;"
    ) as error:
        check_name(name, where="s3://b/x")
    assert "\n" not in str(error.value)


def test_there_is_one_way_to_the_disk() -> None:
    """Whoever downloads gets the paths from `make_files`, or names the one file himself."""
    source = Path(find.__file__).parents[1]
    for path in source.rglob("*.py"):
        text = path.read_text()
        if ".download_many(" in text:
            assert "make_files(" in text, path
        if "store.download(" in text:
            assert path.name in ("artifact.py", "weights.py"), path


def test_gc_leaves_what_it_cannot_read(tmp_path: Path) -> None:
    """A manifest with a bad name may name anything."""
    uri = _published(tmp_path, "../../escaped")
    (tmp_path / "artifact/attempts/x").mkdir()
    report = gc(uri, older_than=datetime.now(UTC) - datetime.now(UTC), delete=True)
    assert not report.garbage
    assert "escaped" in report.notes[0]


def test_a_caption_reads_nothing_outside(tmp_path: Path) -> None:
    (tmp_path / "data/train/images").mkdir(parents=True)
    (tmp_path / "data/train/images/x.png").write_bytes(b"x")
    (tmp_path / "secret.png").write_bytes(b"secret")
    names = ["x.png", "../../../secret.png", "/etc/passwd", f"{tmp_path}/secret.png"]
    captions = dict.fromkeys(names, "a caption")
    (tmp_path / "data/train/captions.json").write_text(json.dumps(captions))
    listing = open_source(CaptionsSource(uri=str(tmp_path / "data"))).listing()
    assert [item.path for item in listing.items] == ["train/images/x.png"]


def test_a_prefix_means_a_folder(tmp_path: Path) -> None:
    names = ["model/a", "model/b/c", "models/d", "model.txt", "modelx"]
    artifact = open_artifact(_publish(tmp_path, *names))

    def found(below: str) -> list[str]:
        return [entry.name for entry in artifact.entries(below)]

    assert found("model") == found("model/") == ["model/a", "model/b/c"]
    assert found("model.txt") == ["model.txt"]
    assert found("") == names
    assert found("mod") == found("/") == found("model/a/") == found("model//") == []
    folder = get(artifact.uri, tmp_path / "got", prefix="model")
    assert sorted(p.name for p in folder.rglob("*") if p.is_file())[1:] == ["a", "c"]
    assert (get(artifact.uri, tmp_path / "one", prefix="model/b/c") / "c").read_bytes() == b"{}"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["artifact", "got", "one"]


def test_files_are_never_written_through_links(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    outside.mkdir()
    folder.mkdir()
    (outside / "mine").write_bytes(b"mine")
    (folder / "sub").symlink_to(outside)
    (folder / "file").symlink_to(outside / "mine")
    with pytest.raises(DataError, match="link that leads out"):
        make_files(folder, ["sub/mine"], where="here")
    (path,) = make_files(folder, ["file"], where="here")
    path.write_bytes(b"new")
    assert (outside / "mine").read_bytes() == b"mine"
    assert [path.name for path in outside.iterdir()] == ["mine"]


@pytest.mark.parametrize("names", [["a", "a/b"], ["a/b", "a"], ["a", "a"]])
def test_each_name_is_a_file_of_its_own(tmp_path: Path, names: list[str]) -> None:
    with pytest.raises(DataError, match="another name is there"):
        make_files(tmp_path / "new", names, where="here")


def test_a_name_is_given_to_one_file_only(tmp_path: Path) -> None:
    uri = _publish(tmp_path, "a", "b")

    def change(values: dict[str, Any]) -> None:
        values["files"][1]["name"] = "a"

    _reseal(tmp_path / "artifact/manifest.json", change)
    with pytest.raises(DataError, match="two files"):
        open_artifact(uri)


def test_what_we_write_can_be_read(tmp_path: Path) -> None:
    """Odd, and still good names of files everywhere."""
    names = ["a b", "ä/ö.png", "a.b..c", "...", "-x", "~x", "%2F", "ab:c", "x" * 255]
    artifact = open_artifact(_publish(tmp_path, *names))
    folder = artifact.download(tmp_path / "down")
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()) == (
        sorted(names)
    )
