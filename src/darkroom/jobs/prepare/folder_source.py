"""A folder of pictures, on S3 or on disk, as a source: what `pictures` lists and reads."""

from __future__ import annotations

from collections.abc import Sequence

from darkroom.jobs.pictures.files import read_files, read_heads
from darkroom.jobs.pictures.folder import list_folder
from darkroom.jobs.pictures.listing import Item, PictureListing
from darkroom.jobs.prepare.config import CaptionsSource, ImageFolderSource
from darkroom.storage import open_store, parse_uri

_FIELD = "source.uri"


class FolderSource:
    """Class folders, or captioned pictures."""

    def __init__(self, config: ImageFolderSource | CaptionsSource) -> None:
        self._root = parse_uri(config.uri, field=_FIELD)
        self._captioned = config.kind == "captions"

    def listing(self) -> PictureListing:
        return list_folder(self._root, field=_FIELD, classes="needed", captioned=self._captioned)

    def read(self, items: Sequence[Item], *, concurrency: int) -> list[bytes]:
        return read_files(open_store(self._root), items, concurrency=concurrency, field=_FIELD)

    def heads(self, items: Sequence[Item], *, length: int, concurrency: int) -> list[bytes]:
        store = open_store(self._root)
        return read_heads(store, items, length=length, concurrency=concurrency, field=_FIELD)
