"""Where a local Ray keeps its sessions and its processes their temporary files; gone afterwards.

Ray leaves a session's logs, sockets and spilled objects in the temporary folder at every start,
and what was killed leaves its temporary files beside them. Here all of that lies in one folder
per driver, which is removed when Ray has stopped. A driver that is killed can remove nothing, so
the next one does: a folder's driver lives as long as it holds the lock in it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from darkroom.errors import ConfigError
from darkroom.jobs.environment import environment_variable
from darkroom.temporary import temporary_place, unusable_place

PREFIX = "darkroom-ray-"
_LONGEST_PARENT = 20
"""The path of a Unix socket must fit into 107 bytes; Ray needs 64 of them, this folder 22."""
_LONGEST_GIVEN = 39
"""Below RAY_TMPDIR Ray makes a folder "ray" of its own."""
_LOCK = "lock"
_REMOVALS = 20
_PAUSE_SECONDS = 0.1


@contextmanager
def local_ray_folder() -> Iterator[Path | None]:
    """A folder for `ray.init(_temp_dir=...)`, while TMPDIR names one for the processes it starts.

    With RAY_TMPDIR Ray's own rules hold instead, and its logs are kept: yields None.
    Errors: ConfigError when one of these folders cannot be used.
    """
    with ExitStack() as stack:
        temporary = temporary_place()
        if "RAY_TMPDIR" in os.environ:
            _check_given(os.environ["RAY_TMPDIR"])
            ray_folder = None
            own = stack.enter_context(own_folder(temporary))
        else:
            fits = len(os.fsencode(temporary)) <= _LONGEST_PARENT
            base = temporary if fits else Path("/tmp")  # noqa: S108
            ray_folder = stack.enter_context(own_folder(base))
            own = ray_folder if fits else stack.enter_context(own_folder(temporary))
        files = own / "tmp"
        files.mkdir()
        stack.enter_context(environment_variable("TMPDIR", str(files)))
        yield ray_folder


@contextmanager
def own_folder(parent: Path) -> Iterator[Path]:
    """A new folder that is removed at the end, or by the next call after this process's death."""
    _sweep(parent)
    folder, lock = _new_folder(parent)
    try:
        yield folder
    finally:
        _remove(folder)
        os.close(lock)


def _check_given(folder: str) -> None:
    """Ray itself would say of each of these only that its node did not start."""
    path = Path(folder)
    length = len(os.fsencode(folder))
    remedy = f"name an absolute folder of at most {_LONGEST_GIVEN} bytes, or unset it"
    if not path.is_absolute():
        raise ConfigError("RAY_TMPDIR", folder, "is not an absolute path", remedy)
    if length > _LONGEST_GIVEN:
        problem = f"has {length} bytes, which leaves no room for the names of Ray's sockets"
        raise ConfigError("RAY_TMPDIR", folder, problem, remedy)
    try:
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        problem = f"is no folder to write to ({error.strerror})"
        raise ConfigError("RAY_TMPDIR", folder, problem, remedy) from None


def _new_folder(parent: Path) -> tuple[Path, int]:
    while True:
        try:
            folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        except OSError as error:
            raise unusable_place(parent, f"cannot be written to ({error.strerror})") from None
        try:
            lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        except FileNotFoundError:
            continue  # swept before it was locked
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (folder / _LOCK).exists():
            return folder, lock
        os.close(lock)


def _sweep(parent: Path) -> None:
    """Remove the folders of dead drivers."""
    for folder in parent.glob(f"{PREFIX}*"):
        try:
            lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        except OSError:
            continue  # another user's, or just removed
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            _remove(folder)
        finally:
            os.close(lock)


def _remove(folder: Path) -> None:
    """Ray's last processes may write for a moment yet; what they leave, the next sweep takes."""
    for _ in range(_REMOVALS):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(_PAUSE_SECONDS)
