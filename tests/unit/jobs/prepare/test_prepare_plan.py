"""Splits, order and pieces: deterministic, stratified, and nobody lost."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom.config import build_config
from darkroom.errors import DataError
from darkroom.jobs.pictures.config import SPLITS
from darkroom.jobs.pictures.listing import Item
from darkroom.jobs.prepare import plan
from darkroom.jobs.prepare.config import PrepareConfig, SplitConfig
from darkroom.jobs.prepare.plan import assign_splits, check_ids, plan_pieces


def items_of(*counts: int, size: int = 100) -> list[Item]:
    return [
        Item(id=f"{label}/{index}", path=f"{label}/{index}.jpg", label=label, size=size)
        for label, count in enumerate(counts)
        for index in range(count)
    ]


def config(**values: Any) -> PrepareConfig:
    return build_config(PrepareConfig, {"source": {"kind": "digits"}, "output": "out", **values})


def fractions(train: float, validation: float, test: float) -> SplitConfig:
    return SplitConfig(train=train, validation=validation, test=test)


@settings(deadline=None)
@given(
    counts=st.lists(st.integers(1, 60), min_size=1, max_size=6),
    cuts=st.tuples(st.integers(0, 20), st.integers(0, 20)).map(sorted),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_class_is_divided_alike_to_within_one(
    counts: list[int], cuts: list[int], seed: int
) -> None:
    test, validation = cuts[0] / 20, (cuts[1] - cuts[0]) / 20
    shares = {"train": 1 - cuts[1] / 20, "validation": validation, "test": test}
    splits = assign_splits(items_of(*counts), SplitConfig(**shares), seed=seed)
    assert len(splits) == sum(counts)
    for label, count in enumerate(counts):
        found = Counter(split for name, split in splits.items() if name.startswith(f"{label}/"))
        for split in SPLITS:
            # Where training would get nothing, its one picture is taken from the others.
            slack = 1 if count * shares["train"] >= 1 or not shares["train"] else 2
            assert abs(found[split] - count * shares[split]) <= slack + 1e-9
            if shares[split] == 0:
                assert not found[split]
        if shares["train"]:
            assert found["train"] >= 1


def test_shares_hold_over_many_tiny_classes() -> None:
    splits = assign_splits(items_of(*[3] * 1000), fractions(0.8, 0.1, 0.1), seed=3)
    counts = Counter(splits.values())
    assert abs(counts["test"] - 300) < 60
    assert abs(counts["validation"] - 300) < 60


def test_another_file_in_one_class_leaves_the_other_classes_alone() -> None:
    before = assign_splits(items_of(50, 50), fractions(0.8, 0.1, 0.1), seed=0)
    after = assign_splits(items_of(51, 50), fractions(0.8, 0.1, 0.1), seed=0)
    moved = [name for name, split in before.items() if after[name] != split]
    assert len(moved) <= 2
    assert all(name.startswith("0/") for name in moved)


def test_split_depends_on_the_seed_and_not_on_the_listing_order() -> None:
    items = items_of(40, 40)
    share = fractions(0.5, 0.25, 0.25)
    assert assign_splits(items, share, seed=1) == assign_splits(items[::-1], share, seed=1)
    assert assign_splits(items, share, seed=1) != assign_splits(items, share, seed=2)


def test_split_given_by_the_source_stays() -> None:
    items = [Item(id=str(index), path=str(index), split="test") for index in range(9)]
    assert set(assign_splits(items, fractions(1, 0, 0), seed=0).values()) == {"test"}


@settings(deadline=None)
@given(counts=st.lists(st.integers(1, 40), min_size=1, max_size=4), seed=st.integers(0, 9))
def test_pieces_hold_every_item_once_and_one_split_each(counts: list[int], seed: int) -> None:
    items = items_of(*counts)
    pieces = plan_pieces(items, config(seed=seed))
    found = [item.id for piece in pieces for item in piece.items]
    assert sorted(found) == sorted(item.id for item in items)
    assert [piece.split for piece in pieces] == sorted(
        (piece.split for piece in pieces), key=SPLITS.index
    )


def test_order_mixes_the_classes_and_ignores_the_listing_order() -> None:
    items = items_of(200, 200)
    share = {"train": 1.0, "validation": 0.0, "test": 0.0}
    (piece,) = plan_pieces(items, config(split=share))
    first = Counter(item.label for item in piece.items[:50])
    assert min(first.values()) > 10
    assert plan_pieces(items[::-1], config(split=share)) == [piece]
    assert plan_pieces(items, config(split=share, seed=1)) != [piece]


def test_pieces_are_bounded_by_count_and_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "PIECE_BYTES", 450)
    share = {"train": 1.0, "validation": 0.0, "test": 0.0}

    def sizes(size: int) -> list[int]:
        pieces = plan_pieces(items_of(25, size=size), config(split=share, piece_rows=10))
        return [len(piece.items) for piece in pieces]

    assert sizes(1) == [10, 10, 5]
    assert sizes(100) == [4, 4, 4, 4, 4, 4, 1]
    assert sizes(9999) == [1] * 25


def test_limit_takes_from_all_classes() -> None:
    pieces = plan_pieces(items_of(500, 500), config(limit=60))
    labels = Counter(item.label for piece in pieces for item in piece.items)
    assert sum(labels.values()) == 60
    assert min(labels.values()) > 15


def test_limit_above_the_number_of_items_takes_all() -> None:
    assert sum(len(piece.items) for piece in plan_pieces(items_of(7), config(limit=99))) == 7


def test_duplicate_id_names_both_files() -> None:
    items = [Item(id="cats/1", path="a.jpg"), Item(id="cats/1", path="b.jpg")]
    with pytest.raises(DataError, match=r"'cats/1'.*'a.jpg' and 'b.jpg'.*rename or remove"):
        check_ids(items, copies=0)


def test_id_that_a_copy_would_take_is_refused_only_with_copies() -> None:
    items = [Item(id="a", path="a.jpg"), Item(id="a~2", path="a~2.jpg")]
    check_ids(items, copies=1)
    with pytest.raises(DataError, match=r"copy 2 of 'a'"):
        check_ids(items, copies=2)
