"""What a source of pictures is: a listing on the driver, and bytes in the tasks.

A source lists `Item`s (id, path, label, caption, perhaps its split and even its bytes) without
opening a picture, and reads encoded bytes by path.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from darkroom.jobs.pictures.listing import Item, PictureListing


class PictureSource(Protocol):
    """A place that pictures come from."""

    def listing(self) -> PictureListing:
        """Every item, sorted by path. Errors: DataError when there is nothing to prepare."""

    def read(self, items: Sequence[Item], *, concurrency: int) -> list[bytes]:
        """The items' encoded bytes, in order. Errors: DataError when one has changed since."""

    def heads(self, items: Sequence[Item], *, length: int, concurrency: int) -> list[bytes]:
        """At least the first `length` bytes of each item, as far as there are so many."""
