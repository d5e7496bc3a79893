"""What a source of pictures is: a listing on the driver, and bytes in the tasks.

A source lists `Item`s (id, path, label, caption, perhaps its split and even its bytes) without
opening a picture, and reads encoded bytes by path. Another kind of source is one more class here
and one more case in `open_source`; nothing downstream knows the kinds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, assert_never

from darkroom.jobs.pictures.listing import Item, Listing
from darkroom.jobs.prepare.config import (
    CaptionsSource,
    DigitsSource,
    IdxSource,
    ImageFolderSource,
    SourceConfig,
)


class Source(Protocol):
    """A place that pictures come from."""

    def listing(self) -> Listing:
        """Every item, sorted by path. Errors: DataError when there is nothing to prepare."""

    def read(self, items: Sequence[Item], *, concurrency: int) -> list[bytes]:
        """The items' encoded bytes, in order. Errors: DataError when one has changed since."""

    def heads(self, items: Sequence[Item], *, length: int, concurrency: int) -> list[bytes]:
        """At least the first `length` bytes of each item, as far as there are so many."""


def open_source(config: SourceConfig) -> Source:
    """The source that a config names."""
    # Imported here: each kind brings its own libraries.
    match config:
        case DigitsSource():
            from darkroom.jobs.prepare.digits import Digits

            return Digits()
        case ImageFolderSource() | CaptionsSource():
            from darkroom.jobs.prepare.folder_source import FolderSource

            return FolderSource(config)
        case IdxSource():
            from darkroom.jobs.prepare.idx import IdxFiles

            return IdxFiles(config)
        case _:
            assert_never(config)


def item_columns(items: Sequence[Item]) -> dict[str, list[Any]]:
    """Items as columns, for an Arrow table."""
    return {name: [getattr(item, name) for item in items] for name in Item.__slots__}
