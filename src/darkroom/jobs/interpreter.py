"""The Python that a local Ray's workers run, and where it imports from: this package and libraries.

Ray adds the driver's current folder to the workers' path, before the libraries; Python adds it
for an empty part of PYTHONPATH and for `-c`. A numpy.py that lies there is the user's, not numpy.
"""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from darkroom.jobs import worker_start
from darkroom.jobs.environment import environment_variable
from darkroom.jobs.local_ray_folder import own_folder

_LONGEST_FIRST_LINE = 127
"""What a Linux of before 5.1 reads of it."""


@contextmanager
def workers_python() -> Iterator[None]:
    """While Ray starts: its workers import the same darkroom, installed or not, and run it all.

    Errors: ConfigError when the temporary folder cannot be written to.
    """
    root = str(Path(__file__).resolve().parents[2])
    parts = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    path = os.pathsep.join(dict.fromkeys(parts))
    with environment_variable("PYTHONPATH", path), environment_variable("PYTHONSAFEPATH", "1"):
        yield


def job_config() -> Any:
    """For a driver whose current folder the workers do not share."""
    from ray.job_config import JobConfig

    class OwnFolderOnly(JobConfig):
        def _serialize(self) -> Any:
            self._py_driver_sys_path.clear()
            return super()._serialize()

    return OwnFolderOnly()


@contextmanager
def quick_workers(folder: Path | None) -> Iterator[None]:
    """While Ray starts: its workers start by `worker_start.py`, where a program can be in `folder`.

    The folder must be there for as long as Ray runs.
    """
    program = None if folder is None else _starting_program(folder)
    with nullcontext() if program is None else _executable(program):
        yield


def _starting_program(folder: Path) -> Path | None:
    """`worker_start.py` as a program in the folder; None where it could not be started."""
    first_line = f"#!{sys.executable} -IS\n"
    if len(first_line) > _LONGEST_FIRST_LINE or any(map(str.isspace, sys.executable)):
        return None
    program = folder / "python"
    program.write_text(first_line + Path(worker_start.__file__).read_text())
    program.chmod(0o700)
    # A file system may take no programs.
    return program if os.access(program, os.X_OK) else None


@contextmanager
def _executable(program: Path) -> Iterator[None]:
    """What Python says that it is, and Ray starts."""
    before = sys.executable
    sys.executable = str(program)
    try:
        yield
    finally:
        sys.executable = before


@contextmanager
def plain_executable() -> Iterator[None]:
    """While Ray runs: an interpreter in "/my folder" has a name that needs no quotes.

    Ray writes it into a shell's line as it is, for the workers of Ray Train at least. A link to
    the whole environment keeps it one.
    """
    before = sys.executable
    if shlex.quote(before) == before:
        yield
        return
    with ExitStack() as stack:
        place = Path(tempfile.gettempdir())
        plain = shlex.quote(str(place)) == str(place)
        folder = stack.enter_context(own_folder(place if plain else Path("/tmp")))  # noqa: S108
        environment = folder / "environment"
        environment.symlink_to(Path(before).parents[1])
        stack.enter_context(_executable(environment / Path(before).parent.name / Path(before).name))
        yield
