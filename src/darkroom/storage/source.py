"""Folders that people filled: which files below them are data, and which cannot be read.

One rule for every verb. What systems leave behind (hidden files, thumbnails, checkpoints of
notebooks, markers of Spark) is no data. On disk, links are followed, and a link back to a folder
above it is not entered again. Nothing is left out in silence: a folder that cannot be listed is
an error, a file that cannot be read is named. What jobs publish is read by its manifest, never by
this.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from darkroom.errors import StorageAccessError
from darkroom.storage.store import ObjectInfo, ObjectStore
from darkroom.storage.uri import Uri

_HIDDEN_NAMES = frozenset(
    {
        "__macosx",
        "__pycache__",
        "@eadir",
        "@recycle",
        "@tmp",
        "@recently-snapshot",
        "network trash folder",
        "temporary items",
        "#recycle",
        "#snapshot",
        "$recycle.bin",
        "recycler",
        "system volume information",
        "lost+found",
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        "icon\r",
        "_success",
        "_temporary",
        "_metadata",
        "_common_metadata",
        "_delta_log",
        "_spark_metadata",
    }
)
"""Names, in lower case, that macOS, Windows, NAS boxes, file systems, Python and Spark make."""

_HIDDEN_STARTS = (".", "~", "_committed_", "_started_")
_HIDDEN_ENDS = ("~", "_$folder$")

_Folder = tuple[str, str, frozenset[tuple[int, int]]]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A name that was found and whose contents cannot be read."""

    key: str
    problem: str


@dataclass
class SourceFiles:
    """What is below a root, sorted by key."""

    files: list[ObjectInfo] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)
    hidden: set[str] = field(default_factory=set)
    """Files and folders that are no data; what lies in such a folder is not looked at."""


def hidden_part(key: str) -> str | None:
    """The shortest beginning of `key` whose last name is one of those that are no data."""
    parts = key.split("/")
    for number, name in enumerate(parts, start=1):
        if _is_hidden(name):
            return "/".join(parts[:number])
    return None


def list_source(store: ObjectStore) -> SourceFiles:
    """Every file below the store's root that is data.

    Errors: StorageAccessError for a folder that cannot be listed, and those of the store.
    """
    found = SourceFiles()
    if store.root.scheme == "file":
        _walk(store.root, found)
    else:
        for info in store.list():
            if hidden := hidden_part(info.key):
                found.hidden.add(hidden)
            else:
                found.files.append(info)
    found.files.sort(key=lambda info: info.key)
    found.unreadable.sort(key=lambda item: item.key)
    return found


def _is_hidden(name: str) -> bool:
    return (
        name.startswith(_HIDDEN_STARTS)
        or name.endswith(_HIDDEN_ENDS)
        or (name.startswith("#") and name.endswith("#"))  # Emacs
        or name.lower() in _HIDDEN_NAMES
    )


def _walk(root: Uri, found: SourceFiles) -> None:
    # A stack of its own: a tree may be deeper than Python's.
    folders: list[_Folder] = [(str(root.path), "", _around(root.path))]
    while folders:
        path, prefix, above = folders.pop()
        for entry in _entries(path):
            key = prefix + entry.name
            if _is_hidden(entry.name):
                found.hidden.add(key)
                continue
            folder = _look(entry, key, above, found)
            if folder is not None:
                folders.append(folder)


def _around(root: Path) -> frozenset[tuple[int, int]]:
    """The folders above the root: a link back to one holds the input, and what is beside it."""
    try:
        statuses = [parent.stat() for parent in root.resolve().parents]
    except OSError:  # a root that is not there, or that may not be looked at, says so when listed
        statuses = []
    return frozenset((status.st_dev, status.st_ino) for status in statuses)


def _entries(path: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            yield from entries
    except (FileNotFoundError, NotADirectoryError):
        return  # the caller says what an empty root means
    except OSError as error:
        raise _cannot_list(path, error) from None


def _look(
    entry: os.DirEntry[str], key: str, above: frozenset[tuple[int, int]], found: SourceFiles
) -> _Folder | None:
    """Note what the entry is; a folder is returned, to be entered."""
    try:
        status = entry.stat()
    except OSError as error:
        if entry.is_symlink():
            found.unreadable.append(Unreadable(key, _link_problem(entry, error)))
        elif isinstance(error, PermissionError):
            raise _cannot_list(str(Path(entry.path).parent), error) from None
        elif not isinstance(error, FileNotFoundError):  # one that has just been deleted
            found.unreadable.append(Unreadable(key, error.strerror or str(error)))
        return None
    if entry.is_dir():
        parent = os.stat(os.path.dirname(entry.path))  # noqa: PTH116, PTH120
        above |= {(parent.st_dev, parent.st_ino)}
        is_above = (status.st_dev, status.st_ino) in above
        return None if is_above else (entry.path, f"{key}/", above)
    if not entry.is_file():
        found.unreadable.append(Unreadable(key, "is neither a file nor a folder"))
    elif not os.access(entry.path, os.R_OK, effective_ids=True):
        found.unreadable.append(Unreadable(key, "permission denied"))
    else:
        modified = datetime.fromtimestamp(status.st_mtime, UTC)
        found.files.append(ObjectInfo(key, status.st_size, None, modified))
    return None


def _link_problem(entry: os.DirEntry[str], error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "is a link in a circle"
    target = os.fsencode(os.readlink(entry.path)).decode("utf-8", "backslashreplace")  # noqa: PTH115
    if isinstance(error, PermissionError):
        return f"is a link to {target}: permission denied"
    return f"is a link to {target}, which is not there"


def _cannot_list(path: str, error: OSError) -> StorageAccessError:
    return StorageAccessError(
        "path",
        path,
        f"cannot be listed ({(error.strerror or str(error)).lower()})",
        "check its owner and mode, or move it out of the input",
    )
