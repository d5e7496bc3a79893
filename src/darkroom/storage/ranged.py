"""A seekable file over ranged reads of one object, for readers that skip most of it."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

from darkroom.storage.store import ObjectStore

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class RangedReader(io.RawIOBase):
    """Reads `store`'s object `key` of `size` bytes; every read is one request."""

    def __init__(self, store: ObjectStore, key: str, size: int) -> None:
        self._store, self._key, self._size = store, key, size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer)
        length = min(len(view), max(0, self._size - self._position))
        data = self._store.get_range(self._key, self._position, length)
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def read(self, size: int = -1) -> bytes:
        remaining = max(0, self._size - self._position)
        data = self._store.get_range(
            self._key, self._position, remaining if size < 0 else min(size, remaining)
        )
        self._position += len(data)
        return data
