"""A folder with one subfolder per class, on S3 or on disk, as a source.

    <uri>/<class>/**/<picture>

The class is the first folder below the root; labels number the sorted class names. An item's id
is its path in Unicode NFC: names that differ in nothing else are a duplicate id, which the plan
refuses. Names only say what to look at: files with no picture's extension and hidden files are
skipped and counted, and what a picture file really holds is decided by its content.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath

from darkroom.config import json_digest
from darkroom.errors import DataError, ObjectNotFoundError, UriError
from darkroom.jobs.prepare.config import ImageFolderSource
from darkroom.jobs.prepare.source import DeadLetter, Item, Listing
from darkroom.storage import ObjectInfo, Parent, open_store, parse_uri

READ_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp"})
FOREIGN_SUFFIXES = frozenset(
    {".gif", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif", ".jp2", ".jxl", ".ico"}
)
"""Pictures all the same: their contents decide, and mostly make them dead letters."""

_SPLIT_NAMES = frozenset({"train", "val", "valid", "validation", "test"})
_SHOWN = 3


class ImageFolder:
    """Class folders of picture files."""

    def __init__(self, config: ImageFolderSource) -> None:
        self._root = parse_uri(config.uri, field="source.uri")
        self._store = open_store(self._root)

    def listing(self) -> Listing:
        files = sorted(self._store.list(), key=lambda info: info.key)
        skipped = Counter(name for info in files if (name := skipped_as(info.key)))
        pictures = [info for info in files if not skipped_as(info.key)]
        self._check_any(pictures, skipped)
        classes = self._classes(pictures)
        return Listing(
            items=self._items(pictures, classes),
            classes=classes,
            parent=Parent("source", str(self._root), fingerprint(pictures), "image_folder"),
            dead_letters=[letter for info in pictures if (letter := self._ruled_out(info.key))],
            num_skipped=dict(sorted(skipped.items())),
        )

    def read(self, items: Sequence[Item], *, concurrency: int) -> list[bytes]:
        with ThreadPoolExecutor(concurrency) as pool:
            return list(pool.map(self._read_one, items))

    def _read_one(self, item: Item) -> bytes:
        try:
            data, etag = self._store.get_with_etag(item.path)
        except ObjectNotFoundError:
            raise self._changed(item, "has been deleted") from None
        if len(data) != item.size or (item.etag is not None and etag != item.etag):
            raise self._changed(item, "has changed")
        return data

    def _changed(self, item: Item, what: str) -> DataError:
        return DataError(
            "source.uri",
            str(self._root / item.path),
            f"{what} since it was listed",
            "run again once nothing writes there",
        )

    def _check_any(self, pictures: Sequence[ObjectInfo], skipped: Counter[str]) -> None:
        if pictures:
            return
        others = ", ".join(f"{count} {name}" for name, count in skipped.most_common(_SHOWN))
        raise DataError(
            "source.uri",
            str(self._root),
            "holds no pictures" + (f", only other files ({others})" if others else ""),
            "name a folder with class subfolders of JPEG, PNG or WebP files; "
            "check its spelling with darkroom storage ls",
        )

    def _classes(self, pictures: Sequence[ObjectInfo]) -> list[str]:
        names = sorted({_class(info.key) for info in pictures} - {""})
        if not names:
            raise DataError(
                "source.uri",
                str(self._root),
                "holds pictures but no class subfolders",
                "move them into one subfolder per class (one subfolder is enough), "
                "or name the folder above",
            )
        if "train" in names and _SPLIT_NAMES.issuperset(names):
            raise DataError(
                "source.uri",
                str(self._root),
                f"holds {', '.join(names)}, which would become the classes",
                "name one split's folder; its pictures are then split by the config",
            )
        return names

    def _items(self, pictures: Sequence[ObjectInfo], classes: Sequence[str]) -> list[Item]:
        labels = {name: label for label, name in enumerate(classes)}
        return [
            Item(
                id=unicodedata.normalize("NFC", info.key),
                path=info.key,
                label=labels[_class(info.key)],
                size=info.size,
                etag=info.etag,
            )
            for info in pictures
            if self._ruled_out(info.key) is None
        ]

    def _ruled_out(self, key: str) -> DeadLetter | None:
        if not _class(key):
            return DeadLetter(key, "no_class", "lies beside the class folders, not in one")
        try:
            _ = self._root / key
            key.encode()
        except (UriError, UnicodeEncodeError) as error:
            shown = key.encode("utf-8", "backslashreplace").decode()
            return DeadLetter(shown, "bad_name", str(error)[:200])
        return None


def skipped_as(key: str) -> str | None:
    """The group that a skipped file is counted in; None for pictures."""
    path = PurePosixPath(key)
    if any(part.startswith(".") for part in path.parts) or "__MACOSX" in path.parts:
        return "hidden"
    suffix = path.suffix.lower()
    if suffix in READ_SUFFIXES or suffix in FOREIGN_SUFFIXES:
        return None
    return suffix or "no extension"


def _class(key: str) -> str:
    """The first folder, or "" for a file beside the class folders."""
    return key.partition("/")[0] if "/" in key else ""


def fingerprint(pictures: Iterable[ObjectInfo]) -> str:
    """Digest of what the listing tells: names, sizes and versions (times, for local files)."""
    return json_digest(
        [
            [
                info.key.encode("utf-8", "backslashreplace").decode(),
                info.size,
                info.etag or info.modified.isoformat(),
            ]
            for info in pictures
        ]
    )
