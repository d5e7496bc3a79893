"""The store over local files: the same protocol by link, lock and fsync, for one host.

A write goes to a hidden temporary file beside its target, is flushed to disk, and then takes
its name in one step: `os.link` where the name must be free, `os.replace` under an exclusive
lock where a version must match. The ETag is the sha256 of the contents. Assumes a POSIX file
system that is not shared between hosts (locks are advisory and local).
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from darkroom.errors import (
    ObjectNotFoundError,
    PreconditionFailedError,
    StorageAccessError,
    StorageError,
)
from darkroom.storage.failpoint import failpoint
from darkroom.storage.source import hidden_part
from darkroom.storage.store import (
    Chunks,
    ObjectInfo,
    ObjectStore,
    Source,
    Unfinished,
    Written,
    file_sha256,
    source_size,
)
from darkroom.storage.uri import Uri

CHUNK_BYTES = 1 << 20
LOCK_NAME = ".darkroom.lock"
_TEMPORARY_SUFFIX = ".darkroom-tmp"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_FILE = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENOENT, errno.ENAMETOOLONG)


class LocalStore(ObjectStore):
    """Objects as files below one folder."""

    def __init__(self, root: Uri) -> None:
        super().__init__(root)
        self._folder = root.path

    def path(self, key: str) -> Path:
        """Where the object's bytes lie."""
        return (self.root / key).path

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        with _translated(self.root, key):
            data = self.path(key).read_bytes()
        return data, hashlib.sha256(data).hexdigest()

    def get_range(self, key: str, start: int, length: int, *, etag: str | None = None) -> bytes:
        with _translated(self.root, key), self.path(key).open("rb") as file:
            if etag is not None and hashlib.file_digest(file, "sha256").hexdigest() != etag:
                raise PreconditionFailedError(f"{self.root / key} has changed while it was read")
            file.seek(start)
            return file.read(length)

    def head(self, key: str) -> ObjectInfo | None:
        path = self.path(key)
        with suppress(ObjectNotFoundError), _translated(self.root, key):
            if not path.is_file():
                return None
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                status = os.fstat(file.fileno())
            return ObjectInfo(key, status.st_size, digest, _modified(status), digest)
        return None

    def put(
        self, key: str, data: bytes, *, if_none_match: bool = False, if_match: str | None = None
    ) -> str:
        target = self.path(key)
        with _translated(self.root, key, writing=True), _temporary(target) as temporary:
            _write_synced(temporary, data)
            failpoint("local.before-rename")
            if if_none_match:
                _link_new(temporary, target)
            elif if_match is not None:
                _replace_matching(temporary, target, if_match)
            else:
                temporary.replace(target)
            failpoint("local.after-rename")
            _sync_folder(target.parent)
        return hashlib.sha256(data).hexdigest()

    def list(self, prefix: str = "", *, markers: bool = False) -> Iterator[ObjectInfo]:  # noqa: ARG002
        folder = self._folder / prefix.rpartition("/")[0]
        found: list[ObjectInfo] = []
        with _translated(self.root, prefix):
            for path in _files(folder):
                key = path.relative_to(self._folder).as_posix()
                if key.startswith(prefix) and not _is_hidden(path):
                    with suppress(FileNotFoundError):
                        status = path.stat()
                        found.append(ObjectInfo(key, status.st_size, None, _modified(status)))
        yield from sorted(found, key=lambda info: info.key)

    def children(self, prefix: str = "") -> Iterator[tuple[str, int | None]]:
        folder = self._folder / prefix
        with _translated(self.root, prefix):
            paths = sorted(folder.iterdir()) if folder.is_dir() else []
        for path in paths:
            if path.is_dir():
                if _holds_anything(path):
                    yield path.name + "/", None
            elif not _is_hidden(path):
                with _translated(self.root, prefix + path.name):
                    # Of a link to nothing, the link's own size.
                    yield path.name, path.stat(follow_symlinks=path.exists()).st_size

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            path = self.path(key)
            with _translated(self.root, key):
                path.unlink(missing_ok=True)
                self._prune(path.parent)

    def upload(self, source: Source, key: str) -> Written:
        source_size(source)
        target = self.path(key)
        with _translated(self.root, key, writing=True), _temporary(target) as temporary:
            size, digest = _copy_synced(source, temporary)
            failpoint("local.before-rename")
            temporary.replace(target)
            failpoint("local.after-rename")
            _sync_folder(target.parent)
        return Written(key, size, digest, digest, digest)

    def chunks(self, key: str) -> Chunks:
        with _translated(self.root, key), self.path(key).open("rb") as source:
            while chunk := source.read(CHUNK_BYTES):
                yield chunk

    def unfinished(self) -> Iterator[Unfinished]:
        for path in _files(self._folder):
            if path.name.endswith(_TEMPORARY_SUFFIX):
                with suppress(FileNotFoundError):
                    key = path.relative_to(self._folder).as_posix()
                    yield Unfinished(key, "", _modified(path.stat()))

    def abort(self, upload: Unfinished) -> None:
        self.delete([upload.key])

    def _prune(self, folder: Path) -> None:
        """Remove folders that hold nothing any more, as an object store would not show them."""
        while folder != self._folder and folder.is_relative_to(self._folder):
            try:
                folder.rmdir()
            except OSError:
                lock = folder / LOCK_NAME
                if {path.name for path in folder.glob("*")} != {LOCK_NAME}:
                    return
                lock.unlink(missing_ok=True)
                continue
            folder = folder.parent


def _files(folder: Path) -> Iterator[Path]:
    """Our own files: links are not followed, for they may lead to what is not ours to delete."""

    def fail(error: OSError) -> None:
        gone = isinstance(error, FileNotFoundError | NotADirectoryError)
        if not gone and hidden_part(os.path.basename(error.filename)) is None:  # noqa: PTH119
            raise error

    for parent, _, names in os.walk(folder, onerror=fail):
        for name in names:
            yield Path(parent, name)


def _holds_anything(folder: Path) -> bool:
    try:
        if any(not _is_hidden(file) for file in _files(folder)):
            return True
        return any(path.is_symlink() for path in folder.rglob("*"))
    except PermissionError:
        return True  # whoever looks there is told


def _is_hidden(path: Path) -> bool:
    return path.name == LOCK_NAME or path.name.endswith(_TEMPORARY_SUFFIX)


def _modified(status: os.stat_result) -> datetime:
    return datetime.fromtimestamp(status.st_mtime, UTC)


@contextmanager
def _temporary(target: Path) -> Iterator[Path]:
    """A fresh hidden name beside `target`, removed again if it is still there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    path = target.with_name(f".{uuid.uuid4().hex}{_TEMPORARY_SUFFIX}")
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        failpoint("local.before-sync")
        file.flush()
        os.fsync(file.fileno())


def _copy_synced(source: Source, target: Path) -> tuple[int, str]:
    if isinstance(source, bytes):
        _write_synced(target, source)
        return len(source), hashlib.sha256(source).hexdigest()
    digest = hashlib.sha256()
    size = 0
    with source.open("rb") as reader, target.open("xb") as writer:
        while chunk := reader.read(CHUNK_BYTES):
            digest.update(chunk)
            size += writer.write(chunk)
        failpoint("local.before-sync")
        writer.flush()
        os.fsync(writer.fileno())
    return size, digest.hexdigest()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _link_new(temporary: Path, target: Path) -> None:
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise PreconditionFailedError(f"{target} exists already") from None


def _replace_matching(temporary: Path, target: Path, etag: str) -> None:
    with _locked(target.parent):
        try:
            found = file_sha256(target)
        except FileNotFoundError:
            found = None
        if found != etag:
            raise PreconditionFailedError(f"{target} is no longer the version that was read")
        temporary.replace(target)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _translated(root: Uri, key: str, *, writing: bool = False) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise StorageAccessError(
            "path", error.filename or str(root), "permission denied", "check its owner and mode"
        ) from None
    except OSError as error:
        if error.errno in _NO_FILE:
            if writing:
                raise StorageAccessError(
                    "path",
                    f"{root}/{key}",
                    f"cannot be a file here ({error.strerror})",
                    "choose another path, or move away what is there",
                ) from None
            raise ObjectNotFoundError(f"{root / key if key else root} does not exist") from None
        if error.errno in _FULL:
            raise StorageAccessError(
                "path", str(root), f"its disk is full ({error.strerror})", "free some of it"
            ) from error
        raise StorageError(f"{root}: {error.strerror or error}") from error
