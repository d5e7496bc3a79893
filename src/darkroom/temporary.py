"""Folders for what is on its way to or from a store, and a clear line when their disk is full.

Python, torch and TensorBoard each have words of their own for a full disk; here they become one.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from darkroom.errors import ConfigError

_TORCH_COULD_NOT_WRITE = "PytorchStreamWriter failed writing"


def temporary_place() -> Path:
    """The folder for temporary files. Errors: ConfigError when no folder will do."""
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:
        raise unusable_place(os.environ.get("TMPDIR"), "no folder takes temporary files") from None


def unusable_place(folder: str | Path | None, problem: str) -> ConfigError:
    """Our error about the temporary folder."""
    shown = None if folder is None else str(folder)
    return ConfigError("TMPDIR", shown, problem, "set TMPDIR to a folder that can be written to")


@contextmanager
def temporary_folder(prefix: str = "darkroom-") -> Iterator[Path]:
    """A new folder in the temporary folder, removed at the end. Errors: as `full_disk_named`."""
    temporary_place()
    with full_disk_named(), tempfile.TemporaryDirectory(prefix=prefix) as folder:
        yield Path(folder)


@contextmanager
def full_disk_named() -> Iterator[None]:
    """Errors: ConfigError that names the temporary folder and the remedy when its disk is full."""
    temporary = temporary_place()
    try:
        yield
    except (OSError, RuntimeError) as error:
        if not _is_of_a_full_disk(error, temporary):
            raise
        raise ConfigError(
            "TMPDIR",
            str(temporary),
            "no space is left for temporary files",
            "free some there, or set TMPDIR to a larger folder",
        ) from error


def _is_of_a_full_disk(error: OSError | RuntimeError, temporary: Path) -> bool:
    if not isinstance(error, OSError):
        return _TORCH_COULD_NOT_WRITE in str(error)
    elsewhere = isinstance(error.filename, str) and temporary not in Path(error.filename).parents
    return error.errno == errno.ENOSPC and not elsewhere
