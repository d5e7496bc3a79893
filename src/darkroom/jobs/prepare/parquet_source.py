"""Parquet files with pictures in a column, as the Hugging Face hub has them, as a source.

    <uri>/**/train-00000-of-00002.parquet       image: struct<bytes, path>, or bytes; text: string

The image column holds encoded pictures. A split is the one that a file's name or folder means, as
on the hub. The driver reads the captions and the footers; a task reads a row group whole for any
picture in it, so that pictures of one row group stay together in the order of the data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import PurePosixPath
from typing import Never

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from darkroom.errors import DataError, IntegrityError
from darkroom.jobs.pictures.config import Split
from darkroom.jobs.pictures.files import changed, fingerprint, rejected
from darkroom.jobs.pictures.layout import nfc, split_of
from darkroom.jobs.pictures.listing import Item, PictureListing
from darkroom.jobs.prepare.config import ParquetSource
from darkroom.jobs.rejects import Reject
from darkroom.jobs.tables.parquet_rows import texts
from darkroom.messages import first_line
from darkroom.storage import ObjectInfo, Parent, list_source, open_store, parse_uri
from darkroom.storage.parquet import translated
from darkroom.storage.ranged import RangedReader

_FIELD = "source.uri"
_SUFFIXES = (".parquet", ".pq")
_GROUPS_KEPT = 2
"""Row groups that a worker keeps for the next piece."""


@dataclass(frozen=True)
class OpenFile:
    """A Parquet file of pictures, in the version that was listed."""

    root: str
    key: str
    etag: str | None
    size: int

    @cached_property
    def parquet(self) -> pq.ParquetFile:
        """Errors: DataError for what is no Parquet file."""
        store = open_store(parse_uri(self.root, field=_FIELD))
        try:
            with translated(self.where):
                reader = RangedReader(store, self.key, self.size)
                return pq.ParquetFile(reader, page_checksum_verification=True)
        except (IntegrityError, AttributeError, TypeError, ValueError, KeyError) as error:
            _fail(self.where, f"cannot be read ({first_line(error)})", "write or download it again")

    @property
    def where(self) -> str:
        """How messages name it."""
        return f"{self.root}/{self.key}"

    @cached_property
    def starts(self) -> np.ndarray:
        """The first row of each row group, and the number of rows."""
        footer = self.parquet.metadata
        sizes = [footer.row_group(index).num_rows for index in range(footer.num_row_groups)]
        return np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])

    def column(self, name: str, *, field: str, group: int | None = None) -> pa.ChunkedArray:
        """A column of one row group, or whole. Errors: DataError naming `field` and the column."""
        schema = self.parquet.schema_arrow
        if schema.names.count(name) != 1:
            _fail(
                self.where, f"has {'two columns' if name in schema.names else 'no column'} {name}",
                f"set {field} to one of {', '.join(dict.fromkeys(schema.names))}",
            )  # fmt: skip
        if isinstance(schema.field(name).type, pa.BaseExtensionType):
            _fail(self.where, f"has a column {name} of an extension type", "store it as bytes")
        try:
            with translated(self.where):
                if group is None:
                    return self.parquet.read(columns=[name])[name]
                return self.parquet.read_row_group(group, columns=[name])[name]
        except IntegrityError as error:
            _fail(self.where, f"cannot be read ({first_line(error)})", "write or download it again")


class ParquetRows:
    """The pictures in a column of Parquet files."""

    def __init__(self, config: ParquetSource) -> None:
        self._config = config
        self._root = parse_uri(config.uri, field=_FIELD)

    def listing(self) -> PictureListing:
        files = list_source(open_store(self._root)).files
        tables = [info for info in files if info.key.lower().endswith(_SUFFIXES)]
        if not tables:
            _fail(str(self._root), "holds no Parquet files", "name the folder that holds them")
        splits = _splits(tables, where=str(self._root))
        items: list[Item] = []
        rejects: list[Reject] = []
        for info, split in zip(tables, splits, strict=True):
            for item in self._items(info, split):
                if self._config.caption_column is not None and item.caption is None:
                    rejects.append(rejected(item.id, "no_caption", "its caption is empty"))
                elif (problem := _invalid(item.caption)) is not None:
                    rejects.append(rejected(item.id, "no_caption", problem))
                else:
                    items.append(item)
        if not items:
            problem = f"holds no row with a caption in its column {self._config.caption_column}"
            _fail(
                str(self._root), problem if rejects else "holds no rows",
                "set source.caption_column to the column of the captions, or to null",
            )  # fmt: skip
        return PictureListing(
            items=items,
            classes=(),
            parent=Parent("source", str(self._root), fingerprint(tables), "parquet"),
            rejects=rejects,
        )

    def read(self, items: Sequence[Item], *, concurrency: int) -> list[bytes]:
        return [self._bytes(item) for item in items]

    def heads(self, items: Sequence[Item], *, length: int, concurrency: int) -> list[bytes]:
        return self.read(items, concurrency=concurrency)

    def _items(self, info: ObjectInfo, split: Split | None) -> Iterator[Item]:
        file = _open(str(self._root), info.key)
        column = self._config.image_column
        _check_pictures(file, column)
        captions = self._captions(file)
        footer = file.parquet.metadata
        for group, start in enumerate(file.starts[:-1]):
            chunks = [footer.row_group(group).column(at) for at in range(footer.num_columns)]
            num_bytes = sum(
                chunk.total_uncompressed_size
                for chunk in chunks
                if chunk.path_in_schema.partition(".")[0] == column
            )
            stop = int(file.starts[group + 1])
            for row in range(int(start), stop):
                path = f"{info.key}/{row:06d}"
                yield Item(
                    id=nfc(path),
                    path=path,
                    caption=None if captions is None else captions[row],
                    split=split,
                    size=max(1, num_bytes // max(1, stop - int(start))),
                    etag=file.etag,
                    block=f"{info.key}#{group}",
                )

    def _captions(self, file: OpenFile) -> list[str | None] | None:
        name = self._config.caption_column
        if name is None:
            return None
        column = file.column(name, field="source.caption_column")
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if not any(
            test(kind)
            for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
        ):
            _fail(file.where, f"has a column {name} of {kind}, not of texts",
                  "set source.caption_column to a column of strings")  # fmt: skip
        return texts(column, name, file.where, _FIELD)

    def _bytes(self, item: Item) -> bytes:
        key, _, row = item.path.rpartition("/")
        file = _opened(str(self._root), key, item.etag)
        group = int(np.searchsorted(file.starts, int(row), side="right")) - 1
        pictures = _group(file, self._config.image_column, group)
        found = pictures[int(row) - int(file.starts[group])].as_py()
        if isinstance(found, dict):
            found = found["bytes"]
        return found or b""


def _check_pictures(file: OpenFile, name: str) -> None:
    """The image column holds bytes, by the file's schema. Errors: DataError naming it."""
    schema = file.parquet.schema_arrow
    if schema.names.count(name) != 1:
        file.column(name, field="source.image_column")  # says so
    kind = schema.field(name).type
    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        kind = kind.field(index).type if index >= 0 else kind
    if not any(
        test(kind)
        for test in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
    ):
        _fail(
            file.where, f"has a column {name} of {kind}, neither bytes nor struct<bytes, path>",
            "set source.image_column to the column of the encoded pictures",
        )  # fmt: skip


def _open(root: str, key: str, etag: str | None = None) -> OpenFile:
    """A file, of the version `etag` if that is given. Errors: DataError when it is another.

    A listing of a local folder tells no version, so the file itself is asked.
    """
    uri = parse_uri(root, field=_FIELD)
    info = open_store(uri).head(key)
    if info is None:
        raise changed(uri, key, "has been deleted", field=_FIELD)
    if etag is not None and info.etag != etag:
        raise changed(uri, key, "has changed", field=_FIELD)
    return OpenFile(root, key, info.etag, info.size)


_opened = lru_cache(maxsize=8)(_open)


@lru_cache(maxsize=_GROUPS_KEPT)
def _group(file: OpenFile, column: str, group: int) -> pa.ChunkedArray:
    return file.column(column, field="source.image_column", group=group)


def _splits(files: Sequence[ObjectInfo], *, where: str) -> list[Split | None]:
    """The split of each file. Errors: DataError where some have one and others have none."""
    splits = [_split(info.key) for info in files]
    if any(splits) and not all(splits):
        without = files[splits.index(None)].key
        _fail(
            where, f"holds files of splits, and {without} that names none",
            "begin its name with train-, validation- or test-",
        )  # fmt: skip
    return splits


def _split(key: str) -> Split | None:
    """By the name's first word, else by the nearest folder that means a split."""
    path = PurePosixPath(nfc(key))
    names = [path.stem.partition("-")[0], *reversed(path.parts[:-1])]
    return next((split for name in names if (split := split_of(name))), None)


def _invalid(caption: str | None) -> str | None:
    try:
        (caption or "").encode()
    except UnicodeEncodeError as error:
        return f"its caption is no valid text ({error.reason})"
    return None


def _fail(where: str, problem: str, remedy: str) -> Never:
    raise DataError(_FIELD, where, problem, remedy) from None
