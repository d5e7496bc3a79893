"""Which picture goes to which split, in which order, and which task reads it.

Runs on the driver over the listing alone, and depends on (seed, ids, labels) only: not on CPUs,
sizes of outputs or which files turn out to be bad. Assumes that ids fit into memory.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from darkroom.errors import DataError
from darkroom.jobs.pictures.config import SPLITS, Split
from darkroom.jobs.pictures.listing import Item
from darkroom.jobs.prepare.config import PrepareConfig, SplitConfig
from darkroom.jobs.seeding import generator, rank_key, sample

CHUNK_ITEMS = 1024
CHUNK_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Chunk:
    """The pictures of one task: one split, in order."""

    split: Split
    items: Sequence[Item]


def plan_chunks(items: Sequence[Item], config: PrepareConfig) -> list[Chunk]:
    """All work, split by split, each split in its shuffled order.

    Errors: DataError for duplicate ids.
    """
    check_ids(items, num_copies=config.augment.copies)
    groups = [(item.split, item.label) for item in items]
    chosen = sample([i.id for i in items], groups, limit=config.limit, seed=config.seed)
    items = [items[at] for at in chosen]
    splits = assign_splits(items, config.split, seed=config.seed)
    by_split: dict[Split, list[Item]] = {split: [] for split in SPLITS}
    for item in sorted(items, key=lambda item: rank_key(config.seed, "order", item.id)):
        by_split[splits[item.id]].append(item)
    return [Chunk(split, part) for split in SPLITS for part in _cut(by_split[split])]


def check_ids(items: Iterable[Item], *, num_copies: int) -> None:
    """Refuse ids that occur twice, or that an augmented copy would take."""
    paths: dict[str, str] = {}
    for item in items:
        other = paths.setdefault(item.id, item.path)
        if other != item.path:
            raise DataError(
                "source",
                item.id,
                f"is the id of both {other!r} and {item.path!r}",
                "rename or remove one of the two",
            )
    for copy in range(1, num_copies + 1):
        taken = next((name for name in paths if copy_id(name, copy) in paths), None)
        if taken is not None:
            raise DataError(
                "source",
                copy_id(taken, copy),
                f"is an id, and would be the id of copy {copy} of {taken!r} too",
                "rename that file or set augment.copies to 0",
            )


def copy_id(image_id: str, copy: int) -> str:
    """The row id of an augmented copy; copy 0 is the original."""
    return f"{image_id}~{copy}" if copy else image_id


def assign_splits(items: Iterable[Item], fractions: SplitConfig, *, seed: int) -> dict[str, Split]:
    """The split of every id: within each class a seeded shuffle, cut by the fractions.

    Every class is divided alike to within one picture, and independently of the others, so a
    file more in one class moves at most a few pictures of that class. What a source has split
    already stays.
    """
    splits: dict[str, Split] = {}
    by_label: defaultdict[int | None, list[Item]] = defaultdict(list)
    for item in items:
        if item.split is not None:
            splits[item.id] = item.split
        else:
            by_label[item.label].append(item)
    for label, members in by_label.items():
        ranked = sorted(members, key=lambda item: rank_key(seed, "split", item.id))
        rounding = generator(seed, "split", f"class {label}").random()
        num_test, num_validation = _shares(len(ranked), fractions, rounding)
        for position, item in enumerate(ranked):
            if position < num_test:
                splits[item.id] = "test"
            elif position < num_test + num_validation:
                splits[item.id] = "validation"
            else:
                splits[item.id] = "train"
    return splits


def _shares(count: int, fractions: SplitConfig, rounding: float) -> tuple[int, int]:
    """(test, validation) of a class of `count` pictures.

    Both cuts are rounded by one random offset in [0, 1), so shares are right on average even
    over many classes of three pictures; training keeps at least one picture of every class.
    """
    held_back = math.floor(count * (fractions.test + fractions.validation) + rounding)
    held_back = min(held_back, count - 1) if fractions.train else count
    num_test = min(math.floor(count * fractions.test + rounding), held_back)
    if not fractions.train and not fractions.validation:
        num_test = count
    return num_test, held_back - num_test


def _cut(items: Iterable[Item]) -> Iterator[Sequence[Item]]:
    """Runs of items, bounded by count and encoded bytes."""
    chunk: list[Item] = []
    num_bytes = 0
    for item in items:
        size = item.size if item.data is None else len(item.data)
        if chunk and (len(chunk) == CHUNK_ITEMS or num_bytes + size > CHUNK_BYTES):
            yield chunk
            chunk, num_bytes = [], 0
        chunk.append(item)
        num_bytes += size
    if chunk:
        yield chunk
