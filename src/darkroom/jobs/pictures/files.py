"""Picture files under a root, on S3 or on disk: which there are, and their bytes.

Names only say what to look at: files with no picture's extension and hidden files are skipped
and counted, and what a picture file really holds is decided by its content.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import Protocol

from darkroom.config import json_digest
from darkroom.errors import DataError, ObjectNotFoundError, UriError
from darkroom.jobs.pictures.rejects import DeadLetter
from darkroom.storage import ObjectInfo, ObjectStore, Uri

READ_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp"})
FOREIGN_SUFFIXES = frozenset(
    {".gif", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif", ".jp2", ".jxl", ".ico"}
)
"""Pictures all the same: their contents decide, and mostly make them dead letters."""

_SHOWN = 3


class Listed(Protocol):
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


def skipped_as(key: str) -> str | None:
    """The group that a skipped file is counted in; None for pictures."""
    path = PurePosixPath(key)
    if any(part.startswith(".") for part in path.parts) or "__MACOSX" in path.parts:
        return "hidden"
    suffix = path.suffix.lower()
    if suffix in READ_SUFFIXES or suffix in FOREIGN_SUFFIXES:
        return None
    return suffix or "no extension"


def bad_name(root: Uri, key: str) -> DeadLetter | None:
    """The dead letter of a key that is no valid text or no valid key."""
    try:
        _ = root / key
        key.encode()
    except (UriError, UnicodeEncodeError) as error:
        shown = key.encode("utf-8", "backslashreplace").decode()
        return DeadLetter(shown, "bad_name", str(error)[:200])
    return None


def no_pictures(root: Uri, skipped: dict[str, int], remedy: str) -> DataError:
    """The error for a root that holds none."""
    most = sorted(skipped.items(), key=lambda pair: -pair[1])[:_SHOWN]
    others = ", ".join(f"{count} {name}" for name, count in most)
    return DataError(
        "source.uri",
        str(root),
        "holds no pictures" + (f", only other files ({others})" if others else ""),
        f"{remedy}; check its spelling with darkroom storage ls",
    )


def fingerprint(files: Iterable[ObjectInfo]) -> str:
    """Digest of what a listing tells: names, sizes and versions (times, for local files)."""
    return json_digest(
        [
            [
                info.key.encode("utf-8", "backslashreplace").decode(),
                info.size,
                info.etag or info.modified.isoformat(),
            ]
            for info in files
        ]
    )


def read_files(
    root: Uri, store: ObjectStore, items: Sequence[Listed], *, concurrency: int
) -> list[bytes]:
    """The items' bytes, in order. Errors: DataError when one has changed since it was listed."""

    def read_one(item: Listed) -> bytes:
        try:
            data, etag = store.get_with_etag(item.path)
        except ObjectNotFoundError:
            raise changed(root, item.path, "has been deleted") from None
        if len(data) != item.size or (item.etag is not None and etag != item.etag):
            raise changed(root, item.path, "has changed")
        return data

    with ThreadPoolExecutor(concurrency) as pool:
        return list(pool.map(read_one, items))


def changed(root: Uri, key: str, what: str) -> DataError:
    """The error for a file that is no longer what the listing found."""
    return DataError(
        "source.uri",
        str(root / key),
        f"{what} since it was listed",
        "run again once nothing writes there",
    )
