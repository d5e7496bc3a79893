"""The session on a real Ray: what it starts it stops, what it finds it leaves, and it is quiet."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

import darkroom
from darkroom.jobs.session import ray_session

CONNECT = """
from darkroom.jobs.session import ray_session
with ray_session():
    import ray
    print(ray.get_runtime_context().gcs_address)
"""


LEAVE_A_FILE = """
import os, tempfile
from darkroom.jobs.session import ray_session
with ray_session():
    import ray
    left = ray.get(ray.remote(lambda: tempfile.mkdtemp()).remote())
    assert left.startswith(os.environ["HERE"]), left
    print(left, flush=True)
    input()
"""


@pytest.fixture
def temporary_folder() -> Iterator[Path]:
    """One with a path that is short enough for sockets, as /tmp's is."""
    with tempfile.TemporaryDirectory(prefix="dr-", dir="/tmp") as folder:
        yield Path(folder)


def started_in(folder: Path) -> tuple[subprocess.Popen[str], str]:
    """A session with `folder` for its temporary files, and what its worker has left there."""
    process = subprocess.Popen(
        [sys.executable, "-c", LEAVE_A_FILE],
        env={**os.environ, "TMPDIR": str(folder), "HERE": str(folder),
             "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def test_nothing_stays_in_the_temporary_folder(temporary_folder: Path) -> None:
    killed, left = started_in(temporary_folder)
    tree = [psutil.Process(killed.pid), *psutil.Process(killed.pid).children(recursive=True)]
    for process in tree:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    killed.communicate()
    assert Path(left).is_dir()  # nobody was there to remove it

    alive, other = started_in(temporary_folder)
    assert not Path(left).exists()  # the next session did
    third, _ = started_in(temporary_folder)
    assert Path(other).is_dir()  # but it leaves the living alone
    for process in (alive, third):
        process.communicate("\n", timeout=240)
        assert process.returncode == 0
    assert not list(temporary_folder.iterdir())


def test_session_starts_serves_is_shared_and_stops(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import ray

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("_", raising=False)
    assert not ray.is_initialized()
    with ray_session(num_cpus=2):
        assert ray.cluster_resources()["CPU"] == 2  # type: ignore[no-untyped-call]
        assert ray.get(ray.remote(where_darkroom_is).remote()) == darkroom.__file__
        # Ray's own start of a worker goes through bash, which leaves its mark.
        assert not ray.get(ray.remote(bash_was_here).remote())
        with ray_session():
            pass
        assert ray.is_initialized()  # a session inside another ends nothing

        address = ray.get_runtime_context().gcs_address
        other = subprocess.run(
            [sys.executable, "-c", CONNECT],
            env={**os.environ, "RAY_ADDRESS": address, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
            timeout=240,
        )
        assert other.stdout.strip() == address
        assert ray.get(ray.remote(where_darkroom_is).remote())  # and the cluster goes on
    assert not ray.is_initialized()
    assert not (tmp_path / ".ray").exists()  # no token file
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")


def test_a_worker_that_hangs_in_its_exit_does_not_outlive_the_session() -> None:
    import ray

    with ray_session(num_cpus=2):
        leaver: Any = ray.remote(Leaver).remote()
        worker = psutil.Process(ray.get(leaver.prepare.remote()))
        with pytest.raises(ray.exceptions.RayActorError):
            ray.get(leaver.leave.remote())
        assert worker.is_running()  # Ray has forgotten it
    assert not worker.is_running()


def test_commands_share_the_ray_that_darkroom_ray_starts(tmp_path: Path) -> None:
    (tmp_path / "connect.py").write_text(CONNECT)
    twice = f"{sys.executable} connect.py && {sys.executable} connect.py && exit 7"
    darkroom_ray = [str(Path(sys.executable).with_name("darkroom")), "ray", "--num-cpus", "3", "--"]
    done = subprocess.run(
        [*darkroom_ray, "bash", "-c", twice],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    first, second = done.stdout.split()
    assert first == second
    assert (done.returncode, done.stderr) == (7, "")


class Leaver:
    """An actor whose process hangs once it has said goodbye."""

    def prepare(self) -> int:
        atexit.register(time.sleep, 1000)
        return os.getpid()

    def leave(self) -> None:
        import ray

        ray.actor.exit_actor()  # type: ignore[no-untyped-call]


def bash_was_here() -> bool:
    """Runs in a worker."""
    return "_" in os.environ


def where_darkroom_is() -> str:
    """Runs in a worker."""
    return str(darkroom.__file__)
