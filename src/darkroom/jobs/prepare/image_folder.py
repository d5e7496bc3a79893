"""A folder with one subfolder per class, on S3 or on disk, as a source.

    <uri>/<class>/**/<picture>

The class is the first folder below the root; labels number the sorted class names. An item's id
is its path in Unicode NFC: names that differ in nothing else are a duplicate id, which the plan
refuses.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence

from darkroom.errors import DataError
from darkroom.jobs.pictures.files import (
    bad_name,
    fingerprint,
    no_pictures,
    read_files,
    skipped_as,
)
from darkroom.jobs.pictures.listing import Item, Listing
from darkroom.jobs.pictures.rejects import DeadLetter
from darkroom.jobs.prepare.config import ImageFolderSource
from darkroom.storage import ObjectInfo, Parent, open_store, parse_uri

_SPLIT_NAMES = frozenset({"train", "val", "valid", "validation", "test"})


class ImageFolder:
    """Class folders of picture files."""

    def __init__(self, config: ImageFolderSource) -> None:
        self._root = parse_uri(config.uri, field="source.uri")
        self._store = open_store(self._root)

    def listing(self) -> Listing:
        files = sorted(self._store.list(), key=lambda info: info.key)
        skipped = Counter(name for info in files if (name := skipped_as(info.key)))
        pictures = [info for info in files if not skipped_as(info.key)]
        if not pictures:
            remedy = "name a folder with class subfolders of JPEG, PNG or WebP files"
            raise no_pictures(self._root, skipped, remedy)
        classes = self._classes(pictures)
        return Listing(
            items=self._items(pictures, classes),
            classes=classes,
            parent=Parent("source", str(self._root), fingerprint(pictures), "image_folder"),
            dead_letters=[letter for info in pictures if (letter := self._ruled_out(info.key))],
            num_skipped=dict(sorted(skipped.items())),
        )

    def read(self, items: Sequence[Item], *, concurrency: int) -> list[bytes]:
        return read_files(self._root, self._store, items, concurrency=concurrency)

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
                "name one split's folder (its pictures are then split by the config), or set "
                "source.kind=captions for folders of images/ with a captions.json",
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
        return bad_name(self._root, key)


def _class(key: str) -> str:
    """The first folder, or "" for a file beside the class folders."""
    return key.partition("/")[0] if "/" in key else ""
