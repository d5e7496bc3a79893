"""`get`: an artifact as a plain folder that other programs read, every byte verified.

A folder that is not there yet appears in one rename, complete. One that is there (a mount point,
the current folder, where a link leads) is filled in place: the files are downloaded and verified
in a hidden folder within it, and only then moved to their names. A note (`.darkroom.json`),
written last, says what the folder came from and that it is complete: it lets a later `get`
replace what an earlier one wrote, and `lineage` start at a picture on disk.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from darkroom.errors import (
    DarkroomError,
    DataError,
    IntegrityError,
    ObjectNotFoundError,
    OutputExistsError,
    StorageAccessError,
    StorageError,
    UriError,
)
from darkroom.storage.artifact import Artifact, name_below, open_artifact
from darkroom.storage.failpoint import AFTER_MOVE, BEFORE_MOVE, failpoint
from darkroom.storage.manifest import encode_json
from darkroom.storage.names import check_name, inside
from darkroom.storage.source import hidden_part
from darkroom.storage.store import file_sha256
from darkroom.storage.uri import Uri, parse_uri

NOTE_NAME = ".darkroom.json"
INCOMING_NAME = ".darkroom.incoming"

_MOVE_IT = "move it away, or choose an empty folder"


@dataclass(frozen=True, slots=True)
class FetchedNote:
    """What a fetched folder says of itself."""

    uri: str
    digest: str
    files: dict[str, str]
    """sha256 by name within the folder."""
    complete: bool = True
    """False while files are moved into place: then `files` are the old ones and the new ones."""


def get(
    uri: Uri | str, directory: str | Path, *, prefix: str = "", overwrite: bool = False
) -> Path:
    """Download the artifact at `uri` (or its folder or file `prefix`) into `directory`.

    A folder that holds the same files already is left as it is, and so are hidden files and what
    systems leave behind. Errors: OutputExistsError for a folder with other contents (with
    `overwrite`: with files that no `get` wrote), StorageAccessError for one that may not be
    written, IntegrityError, ObjectNotFoundError.
    """
    artifact = open_artifact(uri)
    wanted = {name_below(entry, prefix): entry.sha256 for entry in artifact.entries(prefix)}
    if not wanted:
        raise ObjectNotFoundError(
            f"{artifact.uri} has no folder or file {prefix!r}; `darkroom storage ls"
            f" {artifact.uri}` shows its files"
        )
    _refuse_our_names(artifact, wanted)
    place = parse_uri(directory, field="directory")
    if place.scheme != "file":
        raise UriError("directory", str(place), "is not on this machine", "give a local folder")
    target = place.path
    with _writing(target):
        if target.is_dir():
            _fill(target, artifact, wanted, prefix=prefix, overwrite=overwrite)
        elif os.path.lexists(target):
            what = "is a link to nothing" if target.is_symlink() else "is a file"
            raise OutputExistsError("directory", str(target), what, "choose a folder")
        else:
            _make(target, artifact, wanted, prefix=prefix)
    return target


def read_note(folder: Path) -> FetchedNote | None:
    """What `get` noted in `folder`, if it wrote it. Errors: IntegrityError."""
    path = folder / NOTE_NAME
    try:
        note = FetchedNote(**json.loads(path.read_bytes()))
        for name in note.files:
            check_name(name, where=str(path))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError, AttributeError):  # an AttributeError: its files are no object
        raise IntegrityError(f"{path} is damaged; remove it and get the folder again") from None
    return note


def is_unfinished(folder: Path) -> bool:
    """Whether a `get` into `folder` was interrupted, or is under way."""
    note = read_note(folder)
    return (folder / INCOMING_NAME).exists() if note is None else not note.complete


def _make(target: Path, artifact: Artifact, wanted: Mapping[str, str], *, prefix: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    incoming = target.with_name(f".darkroom.{uuid.uuid4().hex}")
    incoming.mkdir()
    try:
        artifact.download(incoming, prefix=prefix)
        _write_note(incoming, artifact, wanted)
        incoming.rename(target)
    finally:
        shutil.rmtree(incoming, ignore_errors=True)


def _fill(
    folder: Path, artifact: Artifact, wanted: Mapping[str, str], *, prefix: str, overwrite: bool
) -> None:
    old = read_note(folder)
    if _holds(folder, wanted):
        complete = old is not None and old.complete and old.digest == artifact.digest
        if not complete:
            _write_note(folder, artifact, wanted)
        return
    _refuse_contents(folder, artifact, wanted, old, overwrite=overwrite)
    with _incoming(folder) as incoming:
        artifact.download(incoming, prefix=prefix)
        before = old.files if old is not None else {}
        _write_note(folder, artifact, {**before, **wanted}, complete=False)
        for name in before.keys() - wanted.keys():
            _remove(folder, name)
        for name in wanted:
            failpoint(BEFORE_MOVE)
            _move(incoming / name, folder, name)
            failpoint(AFTER_MOVE)
        _write_note(folder, artifact, wanted)


def _write_note(
    folder: Path, artifact: Artifact, files: Mapping[str, str], *, complete: bool = True
) -> None:
    note = FetchedNote(str(artifact.uri), artifact.digest, dict(files), complete)
    temporary = folder / f"{NOTE_NAME}.{uuid.uuid4().hex}"
    try:
        temporary.write_bytes(encode_json(asdict(note)))
        temporary.replace(folder / NOTE_NAME)
    finally:
        temporary.unlink(missing_ok=True)


def _remove(folder: Path, name: str) -> None:
    path = inside(folder, name, where=str(folder / NOTE_NAME))
    path.unlink(missing_ok=True)
    with suppress(OSError):  # of folders that are not empty
        for parent in path.parents:
            if parent == folder:
                break
            parent.rmdir()


def _move(source: Path, folder: Path, name: str) -> None:
    path = inside(folder, name, where=str(folder))
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink():
        path.unlink()
    if path.is_dir():
        raise OutputExistsError("directory", str(path), "is a folder", _MOVE_IT)
    shutil.move(source, path)  # a rename, or a copy where a subfolder is a mount of its own


def _refuse_our_names(artifact: Artifact, wanted: Mapping[str, str]) -> None:
    for name in wanted:
        if name.partition("/")[0] in (NOTE_NAME, INCOMING_NAME):
            raise DataError(
                str(artifact.uri), name, "has the name of what get itself writes", "rename it"
            )


def _files_below(folder: Path, wanted: Mapping[str, str]) -> dict[str, Path]:
    """Files and links that are data, or stand where a wanted file is to be."""
    found = {
        path.relative_to(folder).as_posix(): path
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }
    return {
        name: path for name, path in found.items() if name in wanted or hidden_part(name) is None
    }


def _holds(folder: Path, wanted: Mapping[str, str]) -> bool:
    """Whether `folder` holds exactly these files with these contents."""
    found = _files_below(folder, wanted)
    return found.keys() == wanted.keys() and all(
        path.is_file() and file_sha256(path) == wanted[name] for name, path in found.items()
    )


def _refuse_contents(
    folder: Path,
    artifact: Artifact,
    wanted: Mapping[str, str],
    old: FetchedNote | None,
    *,
    overwrite: bool,
) -> None:
    found = _files_below(folder, wanted)
    ours = old.files if old is not None else {}
    foreign = next((name for name in found if name not in ours), None)
    if foreign is not None:
        problem = (
            f"holds a file that does not come from an earlier get ({foreign})"
            if overwrite
            else f"holds other files ({foreign})"
        )
        raise OutputExistsError("directory", str(folder), problem, _MOVE_IT)
    for name in wanted:
        path = inside(folder, name, where=str(artifact.uri))
        if path.is_dir() and not any(mine.startswith(f"{name}/") for mine in ours):
            raise OutputExistsError("directory", str(path), "is a folder", _MOVE_IT)
    is_ours = old is not None and not old.complete and old.uri == str(artifact.uri)
    if old is not None and found and not overwrite and not is_ours:
        raise OutputExistsError(
            "directory",
            str(folder),
            f"holds what an earlier get fetched from {old.uri}",
            "choose an empty folder, or give --overwrite",
        )


@contextmanager
def _incoming(folder: Path) -> Iterator[Path]:
    """An empty hidden folder within `folder` that is ours alone; removed at the end."""
    incoming = folder / INCOMING_NAME
    incoming.mkdir(exist_ok=True)
    descriptor = os.open(incoming, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        _lock(descriptor, folder)
        for left in incoming.iterdir():  # of a get that was killed
            shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
        try:
            yield incoming
        finally:
            shutil.rmtree(incoming, ignore_errors=True)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OutputExistsError(
            "directory", str(folder), "is being filled by another get", "wait until it has ended"
        ) from None
    except OSError:
        return  # a file system without locks


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except DarkroomError:
        raise
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            raise StorageAccessError(
                "directory", str(target), f"cannot be written ({reason})", "choose another folder"
            ) from None
        raise StorageError(f"{target}: could not write it: {reason}") from error
