"""Listed items to dataset rows, in a task: encoded bytes in, encoded bytes out.

    items -> read -> decode, check -> augment, resize, encode -> 1 + copies rows each

Rows are a pure function of (item, bytes, config), in an order that mixes an item's copies over the
piece. A file that cannot be used is rejected.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from functools import partial
from typing import Any

import pyarrow as pa

from darkroom.config import build_config
from darkroom.jobs.batch.stage import ID, Stage
from darkroom.jobs.pictures.augment import augment
from darkroom.jobs.pictures.decode import Picture, decode, keep_memory
from darkroom.jobs.pictures.encode import stored_bytes
from darkroom.jobs.pictures.listing import Item
from darkroom.jobs.pictures.resize import resize
from darkroom.jobs.prepare.buckets import Size, bucket_sizes, nearest_bucket
from darkroom.jobs.prepare.config import PrepareConfig
from darkroom.jobs.prepare.plan import PlannedPiece, copy_id, num_copies
from darkroom.jobs.prepare.sources import open_source
from darkroom.jobs.rejects import Reject, Rejects
from darkroom.jobs.seeding import rank_key

ITEM_SCHEMA = pa.schema(
    [
        (ID, pa.string()),
        ("path", pa.string()),
        ("label", pa.int64()),
        ("caption", pa.string()),
        ("split", pa.string()),
        ("size", pa.int64()),
        ("etag", pa.string()),
        ("data", pa.binary()),
        ("block", pa.string()),
    ]
)
"""What a task gets."""

DATASET_SCHEMA = pa.schema(
    [
        pa.field(ID, pa.string(), nullable=False),
        pa.field("image", pa.binary(), nullable=False),
        pa.field("label", pa.int64()),
        pa.field("caption", pa.string()),
        pa.field("split", pa.string(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
    ]
)
"""What a task returns, and a dataset's files hold."""


def item_table(piece: PlannedPiece) -> pa.Table:
    """A piece's items as rows, each with the piece's split."""
    names = [field.name for field in fields(Item)]
    columns = {name: [getattr(item, name) for item in piece.items] for name in names}
    columns["split"] = [piece.split] * len(piece.items)
    return pa.table(columns, schema=ITEM_SCHEMA)


def items_of(table: pa.Table) -> list[Item]:
    """The items of such a table."""
    return [Item(**row) for row in table.to_pylist()]


def decoding(config: PrepareConfig) -> Stage:
    """The one stage of `prepare`."""
    return Stage(
        name="decode",
        make=partial(MakeRows, config.to_dict()),
        num_workers=None,
        num_cpus=config.num_cpus,
        commits=True,
        check=partial(has_every_copy, copies=config.augment.copies),
    )


class MakeRows:
    """Reads, decodes, augments, resizes and encodes the pictures of one piece."""

    def __init__(self, config_values: dict[str, Any]) -> None:
        keep_memory()
        config = self._config = build_config(PrepareConfig, config_values)
        self._buckets = bucket_sizes(config.buckets) if config.buckets else ()

    def __call__(self, table: pa.Table, rejects: Rejects) -> pa.Table:
        config = self._config
        items = items_of(table)
        rows: list[dict[str, Any]] = []
        for item, data in zip(items, read_items(items, config), strict=True):
            picture = decode_item(item, data, config)
            if isinstance(picture, Reject):
                rejects.found.append(picture)
            else:
                rows.extend(item_rows(item, picture, data or b"", config, self._buckets))
        rows.sort(key=lambda row: rank_key(config.seed, "order", row[ID]))
        return pa.Table.from_pylist(rows, schema=DATASET_SCHEMA)


def has_every_copy(items: pa.Table, rows: pa.Table, *, copies: int) -> bool:
    """Whether the rows are those of the items and of their copies, each once."""
    wanted = [
        copy_id(name, copy)
        for name, split in zip(items[ID].to_pylist(), items["split"].to_pylist(), strict=True)
        for copy in range(num_copies(split, copies) + 1)
    ]
    return sorted(wanted) == sorted(rows[ID].to_pylist())


def item_rows(
    item: Item, picture: Picture, data: bytes, config: PrepareConfig, buckets: Sequence[Size] = ()
) -> Iterator[dict[str, Any]]:
    """The rows of one item, whose picture was decoded from `data`."""
    size = stored_size(picture, config, buckets)
    for copy in range(num_copies(item.split, config.augment.copies) + 1):
        yield {
            ID: copy_id(item.id, copy),
            "label": item.label,
            "caption": item.caption,
            "split": item.split,
            **_stored(picture, data, item.id, config, copy=copy, size=size),
        }


def read_items(items: Sequence[Item], config: PrepareConfig) -> list[bytes | None]:
    """The bytes of every item, None for files over the limit: those are not even read."""
    limit = config.limits.max_bytes
    wanted = [item for item in items if item.data is None and item.may_fit(limit)]
    found: dict[str, bytes] = {}
    if wanted:
        data = open_source(config.source).read(wanted, concurrency=config.read_concurrency)
        found = {item.id: content for item, content in zip(wanted, data, strict=True)}
    return [
        item.data if item.data is not None else found.get(item.id, None if item.size else b"")
        for item in items
    ]


def decode_item(item: Item, data: bytes | None, config: PrepareConfig) -> Picture | Reject:
    """The picture of an item, or why there is none."""
    if data is None:
        detail = f"{item.size} bytes; at most {config.limits.max_bytes}"
        return Reject(item.id, "read", "too_many_bytes", detail)
    return decode(
        data,
        row_id=item.id,
        channels=config.channels or 3,  # chosen before any is decoded
        background=config.background,
        animated=config.animated,
        limits=config.limits,
    )


def stored_size(picture: Picture, config: PrepareConfig, buckets: Sequence[Size]) -> Size:
    """Height and width that the picture and its copies are stored in."""
    own = picture.image.height, picture.image.width
    return nearest_bucket(*own, buckets) if buckets else config.image_size or own


def _stored(
    picture: Picture, data: bytes, image_id: str, config: PrepareConfig, *, copy: int, size: Size
) -> dict[str, Any]:
    """Encoded bytes with their width and height."""
    image = picture.image
    if copy:
        image = augment(image, config.augment, seed=config.seed, image_id=image_id, copy=copy)
    height, width = size
    image = resize(
        image,
        size,
        fit=config.fit,
        resample=config.resample,
        background=config.background,
    )
    stored = stored_bytes(picture, data, config.encoding, image=image)
    return {"image": stored, "width": width, "height": height}
