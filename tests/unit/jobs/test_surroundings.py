"""Where a run's processes may import from and write to, and what RAY_* variables may say."""

from __future__ import annotations

import os
import pwd
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from darkroom.errors import ConfigError
from darkroom.jobs import session
from darkroom.jobs.caches import caches_of_this_run
from darkroom.jobs.interpreter import plain_executable, workers_python
from darkroom.jobs.local_ray_folder import local_ray_folder

CACHES = ("MPLCONFIGDIR", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder of this test."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    for name in (*CACHES, "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    return folder


def settings() -> dict[str, str | None]:
    names = (*CACHES, "HOME", "XDG_CACHE_HOME", "LOGNAME")
    return {name: os.environ.get(name) for name in names}


def test_caches_are_the_runs_own(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(place.parent))
    monkeypatch.setenv("TRITON_CACHE_DIR", "mine")
    before = settings()
    with caches_of_this_run():
        now = settings()
        assert str(now["MPLCONFIGDIR"]).startswith(str(place))
        assert str(now["TORCHINDUCTOR_CACHE_DIR"]).startswith(str(place))
        assert now["TRITON_CACHE_DIR"] == "mine"
        assert (now["HOME"], now["XDG_CACHE_HOME"]) == (before["HOME"], None)
    assert settings() == before
    assert not list(place.iterdir())


def test_a_user_without_entry_and_home_has_both(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(_uid: int) -> None:
        raise KeyError

    for name in ("HOME", "LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    with caches_of_this_run():
        assert Path.home().is_dir()
        assert Path.home().is_relative_to(place)
        assert os.environ["LOGNAME"]
    assert "HOME" not in os.environ


@pytest.mark.parametrize("home", ["/proc", "/absent"])
def test_a_home_that_takes_nothing_keeps_its_files_only(
    home: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", home)
    monkeypatch.setattr(os, "access", lambda path, _mode: str(path) != home)
    with caches_of_this_run():
        assert os.environ["HOME"] == home
        assert os.environ["XDG_CACHE_HOME"].startswith(str(place))


def test_a_temporary_folder_that_takes_nothing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    with pytest.raises(ConfigError, match=r"^TMPDIR: got .*; set TMPDIR to"), caches_of_this_run():
        raise AssertionError("nowhere to write")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("relative", "is not an absolute path"),
        ("", "is not an absolute path"),
        ("/tmp/" + "x" * 60, "has 65 bytes"),  # noqa: S108
        ("/dev/null", "is no folder to write to"),
        ("/proc/x", "is no folder to write to"),
    ],
)
def test_a_ray_tmpdir_that_cannot_be_used(
    given: str, says: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", given)
    with pytest.raises(ConfigError, match=f"^RAY_TMPDIR: got .*{says}.*unset it") as caught:  # noqa: SIM117
        with local_ray_folder():
            raise AssertionError("Ray would not start there")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("http://127.0.0.1:8265", "dashboard.*host:6379"),
        ("https://head", "dashboard.*host:6379"),
        ("grpc://head:1", "no scheme of Ray's"),
        ("localhost", "is not host:port"),
        ("ray://head", "is not host:port.*ray://host:10001"),
        ("head:port", "is not host:port"),
        (":6379", "is not host:port"),
        (" head:6379", "is not host:port"),
    ],
)
def test_an_address_that_is_none_is_refused_before_ray_looks_for_it(
    address: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ConfigError, match=f"^RAY_ADDRESS: got .*{says}"), session.ray_session():
        raise AssertionError("there is no cluster")


@pytest.mark.parametrize("name", ["json.py", "logging.py", "numpy.py", "typer.py", "yaml.py"])
def test_a_module_in_the_current_folder_is_not_ours_to_import(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("raise ImportError('the user has a file of this name')")
    done = subprocess.run(
        [sys.executable, "-m", "darkroom", "storage", "ls", "."],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("before", [None, "elsewhere"])
def test_workers_find_this_package_first_and_the_environment_is_restored(
    monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    if before is None:
        monkeypatch.delenv("PYTHONPATH", raising=False)
    else:
        monkeypatch.setenv("PYTHONPATH", before)
    with workers_python():
        first, *others = os.environ["PYTHONPATH"].split(os.pathsep)
        assert Path(first, "darkroom", "errors.py").is_file()
        assert others == ([before] if before else [])
    assert os.environ.get("PYTHONPATH") == before


def test_workers_get_no_folder_that_nobody_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", "/opt/lib", ""]))
    with workers_python():
        assert os.environ["PYTHONPATH"].split(os.pathsep)[1:] == ["/opt/lib"]
        assert os.environ["PYTHONSAFEPATH"] == "1"


def test_an_interpreter_in_an_odd_folder_has_a_plain_name(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = tmp_path / "it's my folder"
    odd.symlink_to(Path(sys.executable).parents[1])
    given = str(odd / "bin" / Path(sys.executable).name)
    monkeypatch.setattr(sys, "executable", given)
    with plain_executable():
        assert shlex.quote(sys.executable) == sys.executable
        line = f"{sys.executable} -c 'import darkroom, sys; print(sys.prefix)'"
        found = subprocess.run(["bash", "-c", line], check=True, capture_output=True, text=True)
        assert "environment" in found.stdout
    assert sys.executable == given
    assert not list(place.iterdir())
    assert (odd / "pyvenv.cfg").exists()
