"""Which picture goes to which split, in which order, and in which piece.

Runs on the driver over the listing alone, and depends on (seed, ids, labels) only: not on CPUs,
sizes of outputs or which files turn out to be bad. Assumes that ids fit into memory.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from darkroom.errors import DataError
from darkroom.jobs.pictures.config import SPLITS, Split
from darkroom.jobs.pictures.listing import Item
from darkroom.jobs.prepare.config import PrepareConfig, SplitConfig
from darkroom.jobs.seeding import generator, rank_key, sample

PIECE_BYTES = 16 * 1024 * 1024
"""Most encoded bytes of a piece, unless one file is larger."""


@dataclass(frozen=True, slots=True)
class PlannedPiece:
    """Pictures that are done and committed together: of one split, in order."""

    split: Split
    items: Sequence[Item]


def plan_pieces(items: Sequence[Item], config: PrepareConfig) -> list[PlannedPiece]:
    """All work, split by split, each split in its shuffled order.

    Errors: DataError for duplicate ids.
    """
    check_ids(items, copies=config.augment.copies)
    groups = [(item.split, item.label) for item in items]
    chosen = sample([i.id for i in items], groups, limit=config.limit, seed=config.seed)
    items = [items[at] for at in chosen]
    splits = assign_splits(items, config.split, seed=config.seed)
    by_split: dict[Split, list[Item]] = {split: [] for split in SPLITS}
    for item in sorted(items, key=partial(_order, seed=config.seed)):
        by_split[splits[item.id]].append(item)
    return [
        PlannedPiece(split, some)
        for split in SPLITS
        for some in _cut(by_split[split], config.piece_rows)
    ]


def _order(item: Item, *, seed: int) -> tuple[bytes, bytes]:
    """A shuffle of all pictures, or of the blocks and of the pictures in each."""
    block = b"" if item.block is None else rank_key(seed, "order", item.block)
    return block, rank_key(seed, "order", item.id)


def check_ids(items: Iterable[Item], *, copies: int) -> None:
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
    for copy in range(1, copies + 1):
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


def num_copies(split: Split | None, copies: int) -> int:
    """Augmented copies of a picture: only training's are augmented."""
    return copies if split == "train" else 0


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


def _cut(items: Iterable[Item], piece_rows: int) -> Iterator[Sequence[Item]]:
    """Runs of items, bounded by count and encoded bytes."""
    some: list[Item] = []
    num_bytes = 0
    for item in items:
        if some and (len(some) == piece_rows or num_bytes + item.num_bytes > PIECE_BYTES):
            yield some
            some, num_bytes = [], 0
        some.append(item)
        num_bytes += item.num_bytes
    if some:
        yield some
