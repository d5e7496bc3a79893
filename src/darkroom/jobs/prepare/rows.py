"""One chunk of items to dataset rows, in a task: encoded bytes in, encoded bytes out.

Assumes the chunk's columns are `Item`'s. A file that cannot be used becomes one row that holds
only path, reason and detail; every other item becomes 1 + copies rows. Rows are a pure function
of (item, bytes, config), in an order that mixes an item's copies over the chunk.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from darkroom.config import build_config
from darkroom.jobs.pictures.config import Split
from darkroom.jobs.pictures.decode import DeadImage, Picture, decode, keep_memory
from darkroom.jobs.pictures.encode import stored_bytes
from darkroom.jobs.pictures.listing import Item
from darkroom.jobs.pictures.rejects import DEAD_SCHEMA
from darkroom.jobs.prepare.augment import augment
from darkroom.jobs.prepare.config import PrepareConfig
from darkroom.jobs.prepare.plan import Chunk, copy_id
from darkroom.jobs.prepare.resize import resize
from darkroom.jobs.prepare.source import item_columns, open_source
from darkroom.jobs.seeding import rank_key

ITEM_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("path", pa.string()),
        ("label", pa.int64()),
        ("caption", pa.string()),
        ("split", pa.string()),
        ("size", pa.int64()),
        ("etag", pa.string()),
        ("data", pa.binary()),
    ]
)
"""What a task gets."""

DATASET_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("image", pa.binary(), nullable=False),
        pa.field("label", pa.int64()),
        pa.field("caption", pa.string()),
        pa.field("split", pa.string(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
    ]
)
"""What a dataset's files hold."""

ROW_SCHEMA = pa.schema(
    [*(pa.field(field.name, field.type) for field in DATASET_SCHEMA), *DEAD_SCHEMA]
)
"""What a task returns: either kind of row; `reason` is null for pictures."""


def chunk_table(chunk: Chunk) -> pa.Table:
    """A chunk as the input of `process`."""
    columns = item_columns(chunk.items)
    columns["split"] = [chunk.split] * len(chunk.items)
    return pa.table(columns, schema=ITEM_SCHEMA)


def process(table: pa.Table, config_values: dict[str, Any]) -> pa.Table:
    """Read, decode, augment, resize and encode one chunk. Ray Data calls it in a task."""
    keep_memory()
    config = build_config(PrepareConfig, config_values)
    items = [Item(**row) for row in table.to_pylist()]
    rows: list[dict[str, Any]] = []
    for item, data in zip(items, read_items(items, config), strict=True):
        rows.extend(item_rows(item, data, config))
    rows.sort(key=lambda row: rank_key(config.seed, "order", row.get("id") or row["path"]))
    return pa.Table.from_pylist(rows, schema=ROW_SCHEMA)


def item_rows(item: Item, data: bytes | None, config: PrepareConfig) -> Iterator[dict[str, Any]]:
    """The rows of one item; `data` is None when it was too large to be read at all."""
    picture = decode_item(item, data, config)
    if isinstance(picture, DeadImage):
        yield {"path": item.path, "reason": picture.reason, "detail": picture.detail}
        return
    split: Split = item.split or "train"
    num_copies = config.augment.copies if split == "train" else 0
    for copy in range(num_copies + 1):
        yield {
            "id": copy_id(item.id, copy),
            "label": item.label,
            "caption": item.caption,
            "split": split,
            **_stored(picture, data or b"", item.id, copy, config),
        }


def read_items(items: Sequence[Item], config: PrepareConfig) -> list[bytes | None]:
    """The bytes of every item, None for files over the limit: those are not even read."""
    wanted = [
        item for item in items if item.data is None and 0 < item.size <= config.limits.max_bytes
    ]
    found: dict[str, bytes] = {}
    if wanted:
        data = open_source(config.source).read(wanted, concurrency=config.read_concurrency)
        found = {item.id: content for item, content in zip(wanted, data, strict=True)}
    return [
        item.data if item.data is not None else found.get(item.id, None if item.size else b"")
        for item in items
    ]


def decode_item(item: Item, data: bytes | None, config: PrepareConfig) -> Picture | DeadImage:
    """The picture of an item, or why there is none."""
    if data is None:
        detail = f"{item.size} bytes; at most {config.limits.max_bytes}"
        return DeadImage("too_many_bytes", detail)
    return decode(
        data,
        channels=config.channels or 3,  # chosen before any is decoded
        background=config.background,
        animated=config.animated,
        limits=config.limits,
    )


def _stored(
    picture: Picture, data: bytes, image_id: str, copy: int, config: PrepareConfig
) -> dict[str, Any]:
    """Encoded bytes with their width and height."""
    image = picture.image
    if copy:
        image = augment(image, config.augment, seed=config.seed, image_id=image_id, copy=copy)
    height, width = config.image_size or (picture.image.height, picture.image.width)
    image = resize(
        image,
        (height, width),
        fit=config.fit,
        resample=config.resample,
        background=config.background,
    )
    stored = stored_bytes(picture, data, config.encoding, image=image)
    return {"image": stored, "width": width, "height": height}
