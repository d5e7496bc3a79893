"""What libraries write beside a run's output: into a folder of the run, gone when it ends.

matplotlib keeps a list of fonts below HOME, torch what it compiled in the temporary folder, and
Ray Train does not even import where nobody can say what HOME is (a user without a passwd entry).
What the user's own variables say is left alone, and so is a home that can be written to: models
of a hub are kept there from run to run.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from darkroom.jobs.environment import environment_variable
from darkroom.jobs.local_ray_folder import own_folder
from darkroom.temporary import temporary_place

_CACHES = ("MPLCONFIGDIR", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")
_NAMES = ("LOGNAME", "USER", "LNAME", "USERNAME")


@contextmanager
def caches_of_this_run() -> Iterator[None]:
    """Let this process and those it starts write their caches to a folder that is removed.

    Errors: ConfigError when the temporary folder cannot be written to.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(own_folder(temporary_place()))
        for name, value in _settings(folder):
            if name not in os.environ or name == "HOME":
                stack.enter_context(environment_variable(name, value))
        yield


def _settings(folder: Path) -> Iterator[tuple[str, str]]:
    for name in _CACHES:
        yield name, str(folder / name.lower())
    home = _home()
    if home is None:
        (folder / "home").mkdir()
        yield "HOME", str(folder / "home")
    elif not os.access(home, os.W_OK | os.X_OK):
        yield "XDG_CACHE_HOME", str(folder / "cache")
    if not any(os.environ.get(name) for name in _NAMES) and not _has_entry():
        yield _NAMES[0], "darkroom"  # torch names a folder after the user


def _home() -> Path | None:
    try:
        return Path.home()
    except RuntimeError:
        return None


def _has_entry() -> bool:
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        return False
    return True
