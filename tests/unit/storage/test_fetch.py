"""`get` into folders that are there: filled in place, and never complete by mistake."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from darkroom.config import JobConfig
from darkroom.errors import (
    ConfigError,
    DarkroomError,
    DataError,
    InputError,
    IntegrityError,
    ObjectNotFoundError,
    OutputExistsError,
    StorageAccessError,
    UriError,
)
from darkroom.models.find import find_model
from darkroom.storage import Artifact, get, lineage, open_output
from darkroom.storage.failpoint import ENVIRONMENT_VARIABLE, GET_FAILPOINTS
from darkroom.storage.fetch import INCOMING_NAME, NOTE_NAME, is_unfinished, read_note

FILES = {"images/0.png": b"picture", "config.json": b"{}", ".hidden": b"h"}
OTHER = {"images/1.png": b"other", "config.json": b"[]", "a": b"a"}


def _publish(root: Path, name: str = "artifact", files: dict[str, bytes] = FILES) -> Artifact:
    uri = f"file://{root}/{name}"
    config = JobConfig(output=uri, on_existing="overwrite")
    with open_output(uri, kind="model", config=config) as output:
        return output.publish([output.writer.write_bytes(*item) for item in files.items()])


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    return _publish(tmp_path / "store")


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    (tmp_path / "parent").mkdir()
    return tmp_path / "parent"


def _contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != NOTE_NAME
    }


def _plain(parent: Path, _: pytest.MonkeyPatch) -> Path:
    (parent / "target").mkdir()
    return parent / "target"


def _current(parent: Path, patch: pytest.MonkeyPatch) -> Path:
    patch.chdir(_plain(parent, patch))
    return Path()


def _link(parent: Path, patch: pytest.MonkeyPatch) -> Path:
    (parent.parent / "link").symlink_to(_plain(parent, patch))
    return parent.parent / "link"


def _mounted(parent: Path, patch: pytest.MonkeyPatch) -> Path:
    """What a fresh file system holds, and what desktops and NAS boxes leave."""
    folder = _plain(parent, patch)
    (folder / "lost+found").mkdir()
    (folder / ".DS_Store").write_bytes(b"mine")
    (folder / "images").mkdir()
    return folder


@pytest.mark.parametrize("place", [_plain, _current, _link, _mounted])
def test_a_folder_that_exists_is_filled_in_place(
    artifact: Artifact,
    parent: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: Callable[[Path, pytest.MonkeyPatch], Path],
) -> None:
    given, folder = place(parent, monkeypatch), parent / "target"
    left = _contents(folder)
    before, parent_before = folder.stat(), parent.stat()
    get(artifact.uri, given)
    assert _contents(folder) == {**FILES, **left}
    # The very folder, and nothing was ever made beside it.
    assert (folder.stat().st_ino, parent.stat().st_mtime_ns) == (
        before.st_ino,
        parent_before.st_mtime_ns,
    )
    assert not is_unfinished(folder)
    note = read_note(folder)
    assert note is not None
    assert note.complete
    newest = max(p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file())
    assert (folder / NOTE_NAME).stat().st_mtime_ns == newest
    other = _publish(parent.parent / "store", "other", OTHER)
    with pytest.raises(OutputExistsError, match="give --overwrite"):
        get(other.uri, given)
    get(other.uri, given, overwrite=True)
    assert _contents(folder) == {**OTHER, **left}
    assert folder.stat().st_ino == before.st_ino


def test_what_is_not_ours_is_refused_and_kept(artifact: Artifact, parent: Path) -> None:
    folder = parent / "target"
    get(artifact.uri, folder)
    (folder / "mine.txt").write_bytes(b"mine")
    other = _publish(parent.parent / "store", "other", OTHER)
    for overwrite in (False, True):
        with pytest.raises(OutputExistsError, match=r"mine\.txt.*move it away"):
            get(other.uri, folder, overwrite=overwrite)
    assert _contents(folder) == {**FILES, "mine.txt": b"mine"}
    hidden = parent / "hidden"
    hidden.mkdir()
    (hidden / ".hidden").write_bytes(b"mine")  # one of the files is to have this name
    with pytest.raises(OutputExistsError, match="hidden"):
        get(artifact.uri, hidden)
    assert (hidden / ".hidden").read_bytes() == b"mine"


def _file(parent: Path) -> Path:
    (parent / "target").write_bytes(b"mine")
    return parent / "target"


def _below_a_file(parent: Path) -> Path:
    return _file(parent) / "deeper"


def _dangling(parent: Path) -> Path:
    (parent / "target").symlink_to(parent / "nowhere")
    return parent / "target"


def test_nothing_begins_where_a_file_cannot_be(parent: Path) -> None:
    """A hidden link out of the folder, and a folder that has the name of a file."""
    files = {**FILES, ".cache/x": b"x"}
    artifact = _publish(parent / "store", "hidden", files)
    outside = parent / "outside"
    outside.mkdir()
    for name, problem in ((".cache", "leads out"), ("config.json", "is a folder")):
        folder = parent / f"for {name}"
        folder.mkdir()
        if name == ".cache":
            (folder / name).symlink_to(outside)
        else:
            (folder / name).mkdir()
        with pytest.raises(InputError, match=problem):
            get(artifact.uri, folder)
        assert [path.name for path in folder.iterdir()] == [name]
    assert not list(outside.iterdir())


@pytest.mark.parametrize("place", [_file, _below_a_file, _dangling])
def test_what_is_no_folder_is_refused(
    artifact: Artifact, parent: Path, place: Callable[[Path], Path]
) -> None:
    target = place(parent)
    with pytest.raises((OutputExistsError, StorageAccessError)) as error:
        get(artifact.uri, target)
    assert str(target) in str(error.value)
    assert [path.name for path in parent.iterdir()] == ["target"]


@pytest.mark.parametrize("place", ["", "s3://bucket/here"])
def test_what_is_no_place_on_this_machine_is_refused(
    artifact: Artifact, parent: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.chdir(parent)  # an empty variable does not mean it
    with pytest.raises(UriError, match=f"^directory: got '{place}', is ") as error:
        get(artifact.uri, place)
    assert error.value.exit_code == 2
    assert not list(parent.iterdir())


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder that any user may enter."""
    with tempfile.TemporaryDirectory(prefix="darkroom-test-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def _as_a_user(work: Callable[[], object]) -> str:
    """The error of `work`, done by someone whom the file system may refuse."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            work()
            text = ""
        except BaseException as error:  # noqa: BLE001 - the child must end here
            text = f"{type(error).__name__}: {error}"
        os.write(writer, text.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        text = file.read()
    os.waitpid(child, 0)
    return text


def test_a_read_only_parent_will_do(reachable: Path) -> None:
    artifact = _publish(reachable)
    parent = reachable / "read-only"
    folder = parent / "target"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    parent.chmod(0o555)
    assert _as_a_user(lambda: get(artifact.uri, folder)) == ""
    assert _contents(folder) == FILES
    for refused in (parent / "new", parent):
        error = _as_a_user(lambda: get(artifact.uri, refused, overwrite=True))  # noqa: B023
        assert error.startswith(("StorageAccessError: directory: got", "OutputExistsError"))
        assert "\n" not in error
    parent.chmod(0o755)
    assert [path.name for path in parent.iterdir()] == ["target"]


KILLED = "import sys; from darkroom.storage import get; get(*sys.argv[1:], overwrite=True)"


@pytest.mark.parametrize("failpoint", [*GET_FAILPOINTS, "get.after-move:2", "get.before-move:3"])
def test_a_killed_get_is_known_and_finished(
    artifact: Artifact, parent: Path, failpoint: str
) -> None:
    folder = parent / "target"
    get(artifact.uri, folder)
    other = _publish(parent.parent / "store", "other", OTHER)
    environment = {**os.environ, ENVIRONMENT_VARIABLE: failpoint}
    command = [sys.executable, "-c", KILLED, str(other.uri), str(folder)]
    assert subprocess.run(command, env=environment, check=False).returncode == -9
    assert is_unfinished(folder)
    with pytest.raises(ConfigError, match="unfinished"):
        find_model(str(folder), field="model")
    with pytest.raises(IntegrityError, match="unfinished"):
        lineage(next(path for path in folder.rglob("*.png")))
    with pytest.raises(OutputExistsError, match="give --overwrite"):
        get(artifact.uri, folder)
    get(other.uri, folder)  # begun by a command that was allowed to
    assert _contents(folder) == OTHER
    assert not is_unfinished(folder)


def test_damage_leaves_the_old_copy_whole(artifact: Artifact, parent: Path) -> None:
    folder = parent / "target"
    get(artifact.uri, folder)
    other = _publish(parent.parent / "store", "other", OTHER)
    other.store.put(other.entry("a").key, b"b")
    with pytest.raises(IntegrityError, match="a"):
        get(other.uri, folder, overwrite=True)
    assert _contents(folder) == FILES
    assert not is_unfinished(folder)


def test_an_output_may_be_a_mount_point(reachable: Path) -> None:
    """As `get` does, a job leaves alone what a fresh file system or a desktop put there."""
    (reachable / "artifact/lost+found").mkdir(parents=True)
    (reachable / "artifact/.DS_Store").touch()
    (reachable / "artifact").chmod(0o777)
    (reachable / "artifact/lost+found").chmod(0o700)
    assert _as_a_user(lambda: _publish(reachable)) == ""
    (reachable / "other").mkdir()
    (reachable / "other/links").symlink_to(reachable / "artifact")
    with pytest.raises(OutputExistsError, match="links"):
        open_output(
            f"file://{reachable}/other",
            kind="x",
            config=JobConfig(output=f"file://{reachable}/other"),
        )


def test_two_at_once(artifact: Artifact, parent: Path) -> None:
    folder = parent / "target"
    (folder / INCOMING_NAME).mkdir(parents=True)
    descriptor = os.open(folder / INCOMING_NAME, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(OutputExistsError, match="another get"):
        get(artifact.uri, folder)
    os.close(descriptor)
    get(artifact.uri, folder)
    assert _contents(folder) == FILES


def test_a_folder_with_the_files_is_noted(artifact: Artifact, parent: Path) -> None:
    folder = get(artifact.uri, parent / "target")
    (folder / NOTE_NAME).unlink()
    get(artifact.uri, folder)
    assert read_note(folder) is not None


@pytest.mark.parametrize("name", ["../../mine", "/tmp/x", "a/../../mine", "", 5])  # noqa: S108
def test_a_note_removes_nothing_elsewhere(artifact: Artifact, parent: Path, name: Any) -> None:
    """It came with the folder, perhaps from someone else."""
    folder = get(artifact.uri, parent / "target")
    (parent.parent / "mine").write_bytes(b"mine")
    values = json.loads((folder / NOTE_NAME).read_bytes())
    values["files"] = {**values["files"], name: "0"} if isinstance(name, str) else name
    (folder / NOTE_NAME).write_text(json.dumps(values))
    other = _publish(parent.parent / "store", "other", OTHER)
    with pytest.raises(DarkroomError, match="is damaged"):
        get(other.uri, folder, overwrite=True)
    assert (parent.parent / "mine").read_bytes() == b"mine"


@pytest.mark.parametrize("name", [NOTE_NAME, f"{INCOMING_NAME}/x"])
def test_our_own_names_are_refused(parent: Path, name: str) -> None:
    artifact = _publish(parent, files={name: b"{}"})
    with pytest.raises(DataError, match="what get itself writes"):
        get(artifact.uri, parent / "target")
    assert not (parent / "target").exists()


def test_a_folder_that_is_not_in_it_is_named(artifact: Artifact, parent: Path) -> None:
    for prefix in ("image", "/", "../images", "images/0"):
        with pytest.raises(ObjectNotFoundError, match="has no folder or file"):
            get(artifact.uri, parent / "target", prefix=prefix)
    assert not (parent / "target").exists()


def test_a_file_and_a_folder_change_places(parent: Path) -> None:
    folder = parent / "target"
    for files in ({"a/b": b"1"}, {"a": b"2"}, {"a/b/c": b"3"}):
        artifact = _publish(parent, files=files)
        get(artifact.uri, folder, overwrite=True)
        assert _contents(folder) == files
