"""One interface over S3 and local files: whole objects, conditional writes, many at once.

A store is rooted at a URI; keys are relative to it and joined by '/'. Nothing here trusts a
listing for correctness: what is published is decided by `publish.py` through conditional
writes. Stores are cheap to open, safe to use from threads, and picklable by their `root`.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from threading import Event, Lock
from typing import Any, BinaryIO, TypeVar

from darkroom.errors import DarkroomError, ObjectNotFoundError, StorageError
from darkroom.storage.uri import Uri

NUM_THREADS = 16
"""Requests in flight at once when many objects move."""

Source = bytes | Path
Chunks = Generator[bytes | memoryview, None, None]
ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a store says of an object. `etag` is None in a listing of local files."""

    key: str
    size: int
    etag: str | None
    modified: datetime
    checksum: str | None = None
    """The store's own checksum as it words it; None where it keeps none."""


@dataclass(frozen=True, slots=True)
class Written:
    """What an upload sent, to be compared with what the store then says it holds."""

    key: str
    size: int
    sha256: str
    etag: str
    checksum: str | None


@dataclass(frozen=True, slots=True)
class Unfinished:
    """An upload that was begun and neither completed nor aborted."""

    key: str
    upload_id: str
    started: datetime


class ObjectStore(ABC):
    """Objects under one root URI."""

    def __init__(self, root: Uri) -> None:
        self.root = root

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.root)!r})"

    def __reduce__(self) -> tuple[Callable[[Uri], ObjectStore], tuple[Uri]]:
        return type(self), (self.root,)

    def get(self, key: str) -> bytes:
        """The whole object. Errors: ObjectNotFoundError."""
        return self.get_with_etag(key)[0]

    @abstractmethod
    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        """The whole object and the ETag that a later `if_match` may name."""

    @abstractmethod
    def get_range(self, key: str, start: int, length: int, *, etag: str | None = None) -> bytes:
        """Bytes [start, start + length), of exactly the version `etag` if given.

        Errors: PreconditionFailedError when the object has changed since.
        """

    @abstractmethod
    def head(self, key: str) -> ObjectInfo | None:
        """Size, ETag and checksum, or None when there is no such object."""

    @abstractmethod
    def put(
        self, key: str, data: bytes, *, if_none_match: bool = False, if_match: str | None = None
    ) -> str:
        """Write a small object in one step; returns its ETag.

        Errors: PreconditionFailedError when the object exists (`if_none_match`) or is not the
        version `if_match`. A lost answer may show as this error too: the caller re-reads.
        """

    @abstractmethod
    def list(self, prefix: str = "", *, markers: bool = False) -> Iterator[ObjectInfo]:
        """Every object whose key begins with `prefix`, in the server's order.

        markers: also the empty objects named "folder/" by which consoles and tools show folders.
            They hold nothing and are no files; only who deletes wants them.
        """

    @abstractmethod
    def children(self, prefix: str = "") -> Iterator[tuple[str, int | None]]:
        """Names and sizes one level below `prefix` (empty, or ending in '/').

        A folder's name ends in '/' and its size is None.
        """

    @abstractmethod
    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; those already gone are no error."""

    @abstractmethod
    def upload(self, source: Source, key: str) -> Written:
        """Write bytes or a file with a checksum; large ones in parallel parts."""

    def download(self, key: str, path: Path) -> str:
        """Write the object to `path`, large ones in parallel parts; returns its sha256."""
        digest = hashlib.sha256()
        try:
            with path.open("wb") as file, closing(self._saved(key, file)) as chunks:
                for data in chunks:
                    digest.update(data)
        except OSError as error:
            if isinstance(error, DarkroomError):
                raise
            raise StorageError(f"{path}: could not write it: {error.strerror}") from error
        return digest.hexdigest()

    def _saved(self, key: str, file: BinaryIO) -> Chunks:
        """`chunks`, each of them written to `file` as well."""
        for data in self.chunks(key):
            file.write(data)
            yield data

    @abstractmethod
    def chunks(self, key: str) -> Chunks:
        """The object in order, in chunks that fit into memory; each is valid until the next."""

    @abstractmethod
    def unfinished(self) -> Iterator[Unfinished]:
        """Uploads under this root that nobody completed."""

    @abstractmethod
    def abort(self, upload: Unfinished) -> None:
        """Give the space of an unfinished upload back."""

    def upload_many(self, items: Sequence[tuple[Source, str]]) -> Sequence[Written]:
        """Upload concurrently; results in the order of `items`."""
        return for_each(lambda item: self.upload(*item), items)

    def download_many(self, items: Sequence[tuple[str, Path]]) -> Sequence[str]:
        """Download concurrently; sha256 of each in the order of `items`."""
        return for_each(lambda item: self.download(*item), items)


def source_size(source: Source) -> int:
    """How many bytes an upload will send. Errors: ObjectNotFoundError."""
    if isinstance(source, bytes):
        return len(source)
    if not source.is_file():
        raise ObjectNotFoundError(f"{source} is not a file")
    return source.stat().st_size


def file_sha256(path: Path) -> str:
    """The sha256 (hex) of a local file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def for_each(work: Callable[[ItemT], ResultT], items: Sequence[ItemT]) -> list[ResultT]:
    """`work` on every item from several threads, taken in order; an error ends what is not begun.

    Of several errors the one of the earliest item is raised. Holds nothing for an item but its
    result: a future for each would be gigabytes for a million.
    """
    if len(items) < 2:
        return [work(item) for item in items]
    results: list[Any] = [None] * len(items)
    numbers, taking, stopped = iter(range(len(items))), Lock(), Event()
    errors: dict[int, BaseException] = {}

    def take() -> None:
        while not stopped.is_set():
            with taking:
                number = next(numbers, None)
            if number is None:
                return
            try:
                results[number] = work(items[number])
            except BaseException as error:  # noqa: BLE001 - raised again by who waits
                errors[number] = error
                stopped.set()

    with ThreadPoolExecutor(min(NUM_THREADS, len(items))) as pool:
        threads = [pool.submit(take) for _ in range(min(NUM_THREADS, len(items)))]
        try:
            for thread in threads:
                thread.result()
        finally:
            stopped.set()
    if errors:
        raise errors[min(errors)]
    return results
