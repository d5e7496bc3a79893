"""The rows to encode, and where an earlier cache has them: the driver's side, which reads ids only.

Rows are met by id. Whether what the earlier cache holds is still right is for the keys to say, in
the tasks (`read.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import pyarrow as pa

from darkroom.errors import DataError, ObjectNotFoundError
from darkroom.jobs.artifacts.columns import check_columns
from darkroom.jobs.artifacts.dataset import Dataset
from darkroom.jobs.artifacts.latents import Latents
from darkroom.jobs.artifacts.split_rows import SplitRows
from darkroom.jobs.batch.piece import even_lengths
from darkroom.jobs.batch.stage import ID
from darkroom.jobs.cache.config import CacheConfig
from darkroom.jobs.pictures.config import SPLITS, Split
from darkroom.jobs.seeding import sample
from darkroom.storage import open_artifact

ROW_SCHEMA = pa.schema(
    [
        (ID, pa.string()),
        ("file", pa.string()),
        ("row_group", pa.int64()),
        ("position", pa.int64()),
        ("old_file", pa.string()),
        ("old_row_group", pa.int64()),
        ("old_position", pa.int64()),
    ]
)
"""Where a row lies in the dataset, and where in the earlier cache; null where it does not."""


@dataclass(frozen=True)
class PlannedRows:
    """All rows, split by split."""

    rows: pa.Table
    lengths: Sequence[int]
    """Rows of each piece; none spans two splits."""
    splits: Sequence[Split]
    """The split of each piece."""


def open_dataset(config: CacheConfig, *, multiple: int) -> Dataset:
    """The input. multiple: of pixels, that heights and widths must be.

    Errors: DataError for what is no dataset, has not its columns, or pictures of unfit sizes.
    """
    dataset = Dataset.of(open_artifact(config.input))
    info, where = dataset.info, str(dataset.artifact.uri)
    sizes = [(bucket.height, bucket.width) for bucket in info.buckets]
    if info.image_size is None and not sizes:
        raise DataError(
            "input", where, "its images differ in size, and are in no buckets",
            "prepare it again with buckets or image_size set",
        )  # fmt: skip
    for height, width in sizes or [info.image_size or (0, 0)]:
        if height % multiple or width % multiple:
            raise DataError(
                "input", where,
                f"has pictures of {height}x{width} (height x width), and the model takes multiples"
                f" of {multiple}",
                f"prepare it again with sizes, or buckets.divisibility, of multiples of {multiple}",
            )  # fmt: skip
    check_columns(dataset.artifact, None, field="input", columns=("id", "image", "caption"))
    return dataset


def open_earlier(config: CacheConfig) -> Latents | None:
    """The cache to take encodings from, if any. Errors: DataError for a `reuse` that is none."""
    if config.reuse is not None:
        return Latents.of(open_artifact(config.reuse), field="reuse")
    if config.on_existing == "overwrite":
        # What is replaced may be anything.
        with suppress(ObjectNotFoundError, DataError):
            return Latents.of(open_artifact(config.output), field="output")
    return None


def plan_rows(dataset: Dataset, earlier: Latents | None, config: CacheConfig) -> PlannedRows:
    """The dataset's rows in its order. Errors: DataError where it has none."""
    places = {} if earlier is None else _places(earlier)
    tables, counts = [], []
    for split in SPLITS:
        rows = [(row_id, place) for row_id, place in _located(dataset, split)]
        counts.append(len(rows))
        old = [places.get(row_id, (None, None, None)) for row_id, _ in rows]
        tables.append(
            pa.table(
                [
                    [row_id for row_id, _ in rows],
                    *([place[at] for _, place in rows] for at in range(3)),
                    *([place[at] for place in old] for at in range(3)),
                ],
                schema=ROW_SCHEMA,
            )
        )
    return _limited(pa.concat_tables(tables), counts, config)


def _limited(rows: pa.Table, counts: Sequence[int], config: CacheConfig) -> PlannedRows:
    of_split = [split for split, count in zip(SPLITS, counts, strict=True) for _ in range(count)]
    kept = sample(rows[ID].to_pylist(), of_split, limit=config.limit, seed=config.seed)
    lengths: list[int] = []
    splits: list[Split] = []
    for split in SPLITS:
        mine = even_lengths(sum(of_split[at] == split for at in kept), config.piece_rows)
        lengths += mine
        splits += [split] * len(mine)
    return PlannedRows(rows.take(pa.array(kept, pa.int64())).combine_chunks(), lengths, splits)


def _places(earlier: Latents) -> dict[str, tuple[str, int, int]]:
    return {row_id: place for split in SPLITS for row_id, place in _located(earlier, split)}


def _located(rows: SplitRows, split: Split) -> list[tuple[str, tuple[str, int, int]]]:
    """Id, and (file, row group, position), of a split's rows."""
    return [
        (row_id, (group.file, group.index, position))
        for group in rows.row_groups(split)
        for position, row_id in enumerate(rows.reader.read(group, [ID])[ID].to_pylist())
    ]
