"""Picture files under a root, on S3 or on disk: which there are, and their bytes.

Names only say what to look at: files with no picture's extension and hidden files are skipped
and counted, and what a picture file really holds is decided by its content.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol

from darkroom.config import json_digest
from darkroom.errors import DataError, ObjectNotFoundError, UriError
from darkroom.jobs.pictures.reasons import Reason
from darkroom.jobs.rejects import Reject
from darkroom.storage import ObjectInfo, ObjectStore, Uri, list_source, open_store

READ_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp"})
FOREIGN_SUFFIXES = frozenset(
    {".gif", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif", ".jp2", ".jxl", ".ico"}
)
"""Pictures all the same: their contents decide, and mostly make them dead letters."""

_SHOWN = 3


class ListedFile(Protocol):
    """A file as it was listed."""

    @property
    def path(self) -> str:
        """Key below the root."""

    @property
    def size(self) -> int:
        """Encoded bytes."""

    @property
    def etag(self) -> str | None:
        """The version listed, where the store tells."""


@dataclass(frozen=True)
class PictureFiles:
    """What is below a root, sorted by key."""

    pictures: Sequence[ObjectInfo]
    others: Sequence[ObjectInfo]
    """Files that are no pictures by their names."""
    rejects: Sequence[Reject]
    """Names that cannot be used, and files that cannot be read."""
    num_hidden: int

    def num_skipped(self, used: Iterable[ObjectInfo] = ()) -> dict[str, int]:
        """Files that are no pictures, counted by extension; `used` were read all the same."""
        read = {info.key for info in used}
        counts = Counter(
            PurePosixPath(info.key).suffix.lower() or "no extension"
            for info in self.others
            if info.key not in read
        )
        if self.num_hidden:
            counts["hidden"] = self.num_hidden
        return dict(sorted(counts.items()))


def list_pictures(store: ObjectStore, *, field: str, remedy: str) -> PictureFiles:
    """Look at every name below the root.

    Errors: DataError naming `field` when none is a picture's, and those of storage.
    """
    root = store.root
    found = list_source(store)
    pictures, others, rejects = [], [], []
    for info in found.files:
        if not _is_picture(info.key):
            others.append(info)
        elif problem := _bad_name(root, info.key):
            rejects.append(rejected(_shown(info.key), "bad_name", problem))
        else:
            pictures.append(info)
    rejects += [rejected(_shown(item.key), "unreadable", item.problem) for item in found.unreadable]
    files = PictureFiles(pictures, others, rejects, len(found.hidden))
    if not pictures:
        raise _no_pictures(root, files, field=field, remedy=remedy)
    return files


def rejected(path: str, reason: Reason, detail: str) -> Reject:
    """A file that its listing alone rules out."""
    return Reject(path, "read", reason, detail)


def fingerprint(files: Iterable[ObjectInfo]) -> str:
    """Digest of what a listing tells: names, sizes and versions (times, for local files)."""
    return json_digest(
        [[_shown(info.key), info.size, info.etag or info.modified.isoformat()] for info in files]
    )


def read_files(
    store: ObjectStore, items: Sequence[ListedFile], *, concurrency: int, field: str
) -> list[bytes]:
    """The items' bytes, in order. Errors: DataError when one has changed since it was listed."""

    def read_one(item: ListedFile) -> bytes:
        try:
            data, etag = store.get_with_etag(item.path)
        except ObjectNotFoundError:
            raise changed(store.root, item.path, "has been deleted", field=field) from None
        if len(data) != item.size or (item.etag is not None and etag != item.etag):
            raise changed(store.root, item.path, "has changed", field=field)
        return data

    with ThreadPoolExecutor(concurrency) as pool:
        return list(pool.map(read_one, items))


def read_heads(
    store: ObjectStore, items: Sequence[ListedFile], *, length: int, concurrency: int, field: str
) -> list[bytes]:
    """The first bytes of each item, in order. Errors: DataError when one has been deleted."""

    def read_one(item: ListedFile) -> bytes:
        try:
            return store.get_range(item.path, 0, min(length, item.size))
        except ObjectNotFoundError:
            raise changed(store.root, item.path, "has been deleted", field=field) from None

    with ThreadPoolExecutor(concurrency) as pool:
        return list(pool.map(read_one, items))


def changed(root: Uri, key: str, what: str, *, field: str) -> DataError:
    """The error for a file that is no longer what the listing found."""
    return DataError(
        field,
        str(root / key),
        f"{what} since it was listed",
        "run again once nothing writes there",
    )


def _is_picture(key: str) -> bool:
    suffix = PurePosixPath(key).suffix.lower()
    return suffix in READ_SUFFIXES or suffix in FOREIGN_SUFFIXES


def _bad_name(root: Uri, key: str) -> str | None:
    """Why a key is no valid text or no valid key."""
    try:
        _ = root / key
        key.encode()
    except (UriError, UnicodeEncodeError) as error:
        return str(error)[:200]
    return None


def _no_pictures(root: Uri, files: PictureFiles, *, field: str, remedy: str) -> DataError:
    most = sorted(files.num_skipped().items(), key=lambda pair: -pair[1])[:_SHOWN]
    others = ", ".join(f"{count} {name}" for name, count in most)
    problem = "holds no pictures" + (f", only other files ({others})" if others else "")
    if files.rejects:
        first = files.rejects[0]
        problem = f"holds no picture that can be read ({first.id}: {first.detail})"
    elif not others and root.key and open_store(root.parent).head(root.name) is not None:
        problem = "is a file and no folder of pictures"
    return DataError(
        field, str(root), problem, f"{remedy}; check its spelling with darkroom storage ls"
    )


def _shown(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
