"""A node holds one copy of a model for as long as somebody loads it, whoever is killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from darkroom.errors import ConfigError, StorageError
from darkroom.models.node_copy import node_copy

Loader = Callable[..., "subprocess.Popen[str]"]

LOADER = """
import os, sys, time
from pathlib import Path
from darkroom.models.node_copy import node_copy
log, go, key = sys.argv[1:]

def fill(folder):
    with open(log, "a") as file: file.write("filled\\n")
    time.sleep(0.2)
    (folder / "weights").write_text("whole")

with node_copy(key, fill) as folder:
    assert (folder / "weights").read_text() == "whole"
    print("loaded", flush=True)
    while not Path(go).exists(): time.sleep(0.01)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of all copies of this user."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path / f"darkroom-models-{os.getuid()}"


@pytest.fixture
def loader(tmp_path: Path, place: Path) -> Iterator[Loader]:
    """Starts processes that load a model, and ends them."""
    with ExitStack() as stack:

        def start(key: str = "key") -> subprocess.Popen[str]:
            arguments = [str(tmp_path / "log"), str(tmp_path / "go"), key]
            process = subprocess.Popen(
                [sys.executable, "-c", LOADER, *arguments],
                stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(place.parent)},
            )  # fmt: skip
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield start


def is_loaded(process: subprocess.Popen[str]) -> bool:
    assert process.stdout is not None
    return process.stdout.readline() == "loaded\n"


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


def test_all_that_load_at_a_time_share_one_copy(
    loader: Loader, tmp_path: Path, place: Path
) -> None:
    loaders = [loader() for _ in range(4)]
    assert all(is_loaded(process) for process in loaders)
    assert (tmp_path / "log").read_text() == "filled\n"
    (tmp_path / "go").touch()
    assert [process.wait() for process in loaders] == [0] * 4
    assert not place.exists()


def test_what_a_killed_process_left_is_used(loader: Loader, tmp_path: Path, place: Path) -> None:
    killed = loader()
    assert is_loaded(killed)
    kill(killed)
    assert (place / "key/files/weights").exists()
    (tmp_path / "go").touch()
    assert is_loaded(loader())  # it is whole
    assert (tmp_path / "log").read_text() == "filled\n"


def test_a_copy_in_use_outlives_one_left_behind(
    loader: Loader, tmp_path: Path, place: Path
) -> None:
    user, killed = loader(), loader("left")
    assert is_loaded(user)
    assert is_loaded(killed)
    kill(killed)
    with node_copy("third", lambda folder: (folder / "x").touch()) as folder:
        assert sorted(path.name for path in place.iterdir()) == ["key", "third"]
        assert [path.name for path in folder.iterdir()] == ["x"]
    assert [path.name for path in place.iterdir()] == ["key"]
    (tmp_path / "go").touch()
    assert user.wait() == 0
    assert not place.exists()


def test_what_could_not_be_fetched_leaves_nothing(place: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise StorageError("gone")

    with pytest.raises(StorageError, match="gone"), node_copy("key", fail):
        pass
    assert not list(place.iterdir())


@pytest.mark.parametrize("spoil", ["mode", "link"])
def test_a_folder_that_others_may_write_to_is_refused(spoil: str, place: Path) -> None:
    if spoil == "mode":
        place.mkdir()
        place.chmod(0o777)
    else:
        place.symlink_to(place.parent)
    with pytest.raises(ConfigError, match=r"TMPDIR.*others can write to it"):
        node_copy("key", lambda _: None).__enter__()
