"""`darkroom prepare`: list the source, plan, decode piece by piece, merge, publish one dataset.

Everything that is the user's to fix (empty input, duplicate ids, output inside the input) is
found before Ray starts and before anything is written. Files that cannot be used are rejected and
counted by reason. Commits, reruns, files of a sensible size and the publication are the batch
core's (`jobs/batch`).
"""

from __future__ import annotations

import logging
import math
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from darkroom.jobs.apart import check_apart
from darkroom.jobs.artifacts import Kind
from darkroom.jobs.artifacts.dataset import BucketRows, DatasetInfo
from darkroom.jobs.artifacts.info import names_of, plain_values
from darkroom.jobs.batch.job import BatchRun, open_batch
from darkroom.jobs.batch.merge import Folder, Layout
from darkroom.jobs.pictures.config import SPLITS, Split
from darkroom.jobs.pictures.listing import PictureListing
from darkroom.jobs.prepare.config import PrepareConfig
from darkroom.jobs.prepare.empty_classes import without_empty_classes
from darkroom.jobs.prepare.plan import PlannedPiece, plan_pieces
from darkroom.jobs.prepare.rows import DATASET_SCHEMA, ITEM_SCHEMA, decoding, item_table
from darkroom.jobs.prepare.sources import open_source
from darkroom.jobs.session import ray_session
from darkroom.storage import Artifact

logger = logging.getLogger(__name__)

_NEEDED_FOR: dict[Split, str] = {
    "train": "training needs",
    "validation": "the validation loss is measured on",
    "test": "evaluate compares with",
}


def run(config: PrepareConfig) -> dict[str, Any]:
    """Prepare and publish; returns what `--json` prints.

    Errors: DataError (nothing usable in the input), UriError and OutputExistsError (output).
    """
    source = getattr(config.source, "uri", None)
    if source is not None:
        check_apart(config.output, source, field="source.uri")
    listing = open_source(config.source).listing()
    if config.source.kind in ("image_folder", "captions", "idx"):
        listing = without_empty_classes(listing, config)
    pieces = plan_pieces(listing.items, config)
    _tell_of_limit(pieces, listing, config)
    tables = [item_table(piece) for piece in pieces]
    with open_batch(
        config,
        kind=Kind.DATASET,
        rows=pa.concat_tables([ITEM_SCHEMA.empty_table(), *tables]),
        lengths=[len(table) for table in tables],
        parents=[listing.parent],
        rejected=listing.rejects,
    ) as batch:
        if batch.completed is not None:
            return _result(batch.completed)
        # Tasks only, no actors: as many logical CPUs as cores do, where training needs more.
        with ray_session(num_cpus=max(os.cpu_count() or 1, math.ceil(config.num_cpus))):
            # Imports ray: only after the checks that need none.
            from darkroom.jobs.prepare.colour import choose_channels

            channels = batch.remember("channels", lambda: choose_channels(pieces, config))
            chosen = config.model_copy(update={"channels": channels})
            batch.run(
                [decoding(chosen)],
                schema=DATASET_SCHEMA,
                description="prepare",
                unit="pictures",
                note=partial(_sizes, most=None if config.buckets else 2),
            )
            batch.merge(
                Layout(config.file_size_mb, config.row_group_rows, config.row_group_mb),
                [Folder(f"data/{piece.split}", {"split": piece.split}) for piece in pieces],
            )
        return _result(_publish(batch, pieces, listing, chosen))


def _tell_of_limit(
    pieces: Sequence[PlannedPiece], listing: PictureListing, config: PrepareConfig
) -> None:
    drawn = {item.label for piece in pieces for item in piece.items} - {None}
    if config.limit is not None and len(drawn) < len(listing.classes):
        logger.warning(
            "limit: %d pictures are of %d of the %d classes",
            config.limit, len(drawn), len(listing.classes),
        )  # fmt: skip


def _sizes(rows: pa.Table, *, most: int | None) -> Mapping[str, Any]:
    """[height, width, number] of the pictures, of `most` sizes."""
    sizes = Counter(zip(rows["height"].to_pylist(), rows["width"].to_pylist(), strict=True))
    return {"sizes": [[*size, count] for size, count in sorted(sizes.items())[:most]]}


def _publish(
    batch: BatchRun, pieces: Sequence[PlannedPiece], listing: PictureListing, config: PrepareConfig
) -> Artifact:
    num_rows: Counter[str] = Counter(dict.fromkeys(SPLITS, 0))
    sizes: defaultdict[tuple[int, int], Counter[str]] = defaultdict(Counter)
    for commit in batch.commits:
        split = pieces[commit.piece].split
        num_rows[split] += sum(entry.rows or 0 for entry in commit.files)
        for height, width, count in commit.notes.get("sizes", ()):
            sizes[height, width][split] += count
    is_split = any(item.split is not None for item in listing.items)
    for split, needed_for in _NEEDED_FOR.items():
        if not num_rows[split] and (is_split or getattr(config.split, split)):
            logger.warning("not one picture is in the %s split, which %s", split, needed_for)
    return batch.publish(
        info=partial(
            DatasetInfo,
            classes=tuple(listing.classes),
            split_rows=dict(num_rows),
            image_size=_image_size(sorted(sizes), config),
            channels=config.channels or 3,  # chosen before any was decoded
            num_skipped=listing.num_skipped,
            source=config.source.to_dict(),
            buckets=_buckets(sizes) if config.buckets else (),
            augment=config.augment.to_dict() if config.augment.copies else None,
        )
    )


def _buckets(sizes: Mapping[tuple[int, int], Mapping[str, int]]) -> tuple[BucketRows, ...]:
    """The buckets that got pictures, and how many; said."""
    found = sorted(sizes.items())
    shown = ", ".join(f"{height}x{width} ({sum(rows.values())})" for (height, width), rows in found)
    logger.info("buckets: %d have pictures, height x width (pictures): %s", len(found), shown)
    return tuple(
        BucketRows(height=height, width=width, split_rows=dict(rows))
        for (height, width), rows in found
    )


def _image_size(sizes: Sequence[tuple[int, int]], config: PrepareConfig) -> tuple[int, int] | None:
    """(height, width) of all pictures; None, said, where they differ."""
    if config.image_size:
        return config.image_size
    if len(sizes) < 2:
        return sizes[0] if sizes else None
    if config.buckets:
        return None
    (height, width), (other_height, other_width) = sizes[:2]
    logger.info(
        "image_size: pictures keep their own, %dx%d and %dx%d among them (height x width); "
        "to train, set one, or buckets", height, width, other_height, other_width,
    )  # fmt: skip
    return None


def _result(artifact: Artifact) -> dict[str, Any]:
    info = plain_values(DatasetInfo.of(artifact))
    shown = (
        "num_rows",
        "split_rows",
        "image_size",
        "buckets",
        "channels",
        "num_rejected",
        "rejected",
        "num_skipped",
        "classes",
        "figures",
    )
    return {
        **names_of(artifact),
        **{name: info[name] for name in shown},
    }
