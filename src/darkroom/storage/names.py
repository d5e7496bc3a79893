"""Names that come from outside, and the one way by which they become files on this machine.

A manifest, a listing or an index may be made by anybody who may write where it lies. So a name is
checked where it is read (`check_name`), and joined to a folder only here (`inside`,
`make_files`), where links are looked at as well: nothing is ever written outside the folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from darkroom.errors import DataError, StorageError

MAX_SEGMENT_BYTES = 255
"""The longest name that file systems hold."""

_DRIVE = re.compile(r"^[A-Za-z]:")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def check_name(name: object, *, where: str) -> str:
    """`name`, if it is a plain relative file name on every system: `a/b/c.png`.

    Errors: DataError that names `where` it was read.
    """
    fault = _fault(name)
    if fault is not None or not isinstance(name, str):
        raise _refused(where, name, f"is no plain file name: it {fault}")
    return name


def inside(folder: Path, name: object, *, where: str) -> Path:
    """The path of `name` in `folder`. Errors: DataError when it, or a link, leads out of it."""
    path = folder / check_name(name, where=where)
    if not path.parent.resolve().is_relative_to(folder.resolve()):
        raise _refused(where, name, f"passes through a link that leads out of {folder}")
    return path


def make_files(folder: Path, names: Iterable[object], *, where: str) -> list[Path]:
    """A new empty file in `folder` for each of the names. An older file or link gives way to it.

    Errors: DataError for a name that leads out, is a folder as well, or is another's here (a file
    system may hold "A" and "a" to be one); StorageError when the disk refuses.
    """
    made: set[tuple[int, int]] = set()
    folders: set[Path] = set()
    paths = []
    for name in names:
        path = folder / check_name(name, where=where)
        try:
            if path.parent not in folders:
                folders.add(inside(folder, name, where=where).parent)
                path.parent.mkdir(parents=True, exist_ok=True)
            made.add(_make_new(path, made))
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            raise _refused(
                where, name, f"cannot be a file of its own in {folder}: another name is there"
            ) from None
        except OSError as error:
            raise StorageError(f"{path}: could not write it: {error.strerror}") from error
        paths.append(path)
    return paths


def _make_new(path: Path, made: set[tuple[int, int]]) -> tuple[int, int]:
    """Create `path` and return what it is on the disk; never write through a link."""
    if os.path.lexists(path):
        status = path.lstat()
        if (status.st_dev, status.st_ino) in made:
            raise FileExistsError
        if path.is_dir() and not path.is_symlink():
            raise IsADirectoryError
        path.unlink()
    with path.open("xb") as file:
        status = os.fstat(file.fileno())
    return status.st_dev, status.st_ino


def _fault(name: object) -> str | None:
    if not isinstance(name, str):
        return "is no text"
    if not name:
        return "is empty"
    try:
        name.encode()
    except UnicodeEncodeError:
        return "is not valid Unicode"
    if CONTROL.search(name):
        return "contains a control character"
    if "\\" in name:
        return "contains a backslash"
    if name.startswith("/") or _DRIVE.match(name):
        return "is an absolute path"
    segments = name.split("/")
    if ".." in segments:
        return "contains '..'"
    if "" in segments or "." in segments:
        return "contains an empty segment or '.'"
    longest = max(len(segment.encode()) for segment in segments)
    if longest > MAX_SEGMENT_BYTES:
        return f"has a segment of {longest} bytes, where file systems hold {MAX_SEGMENT_BYTES}"
    return None


def _refused(where: str, name: object, problem: str) -> DataError:
    return DataError(where, name, problem, "nothing was written under it; ask who made it")
