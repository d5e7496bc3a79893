"""Which pictures are paired: of one prompt or class, each once, in order or by the seed."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from darkroom.jobs.measuring.comparison import AGAINST, CLASS, GENERATED, TEST, TRAIN
from darkroom.jobs.measuring.pairs import PARTNER, has_pairs, with_partners
from darkroom.jobs.measuring.source import picture_rows


def rows(set_name: str, labels: list[int | None], prompts: list[str] | None = None) -> pa.Table:
    ids = [f"{set_name}-{at}" for at in range(len(labels))]
    none: list[Any] = [None] * len(ids)
    located: dict[str, list[Any]] = {
        "id": ids, "path": [f"{name}.png" for name in ids], "size": [1] * len(ids), "etag": none,
        "row_group": none, "position": none,
    }  # fmt: skip
    found = picture_rows(located, set_name, labels, list(prompts) if prompts else None)
    names = [None if label is None else f"class {label}" for label in labels]
    return found.set_column(
        found.schema.get_field_index(CLASS), CLASS, pa.array(names, pa.string())
    )


def paired(*tables: pa.Table, folders: tuple[str, ...] = (), seed: int = 0) -> dict[str, str]:
    found = with_partners(pa.concat_tables(tables), folders=folders, seed=seed)
    return {
        row["id"]: row[PARTNER]["id"] for row in found.to_pylist() if row[PARTNER] is not None
    }  # fmt: skip


def test_neighbours_of_one_class_are_paired_within_each_set() -> None:
    drawn = rows(GENERATED, [0, 1, 0, 1, 0, 2])
    others = rows(AGAINST, [0, 1, 0, 1, 0, 2])
    found = paired(drawn, others, rows(TRAIN, [0, 0]), rows(TEST, [1, 0, 1, None]))
    assert found == {
        "generated-0": "generated-2", "generated-1": "generated-3", "against-0": "against-2",
        "against-1": "against-3", "test-0": "test-2",
    }  # fmt: skip


def test_prompts_come_before_classes_and_count_for_real_pictures_too() -> None:
    drawn = rows(GENERATED, [0, 0, 0, 0], ["a cat", "a dog", "a cat", "a dog"])
    real = rows(TEST, [0, 0, 0], ["one cat", "two cats", "one cat"])
    assert paired(drawn, real) == {
        "generated-0": "generated-2", "generated-1": "generated-3", "test-0": "test-2"
    }  # fmt: skip
    assert paired(drawn, rows(TEST, [0, 0])) == {
        "generated-0": "generated-2", "generated-1": "generated-3"
    }  # fmt: skip


def test_files_of_a_folder_are_shuffled_by_the_seed() -> None:
    drawn = rows(GENERATED, [0] * 20)
    one, again, other = (paired(drawn, folders=(GENERATED,), seed=seed) for seed in (1, 1, 2))
    assert one == again != other
    assert one != paired(drawn)
    members = [*one, *one.values()]
    assert len(set(members)) == len(members) == 20


def test_whether_any_two_are_alike() -> None:
    assert has_pairs(rows(GENERATED, [0, 1, 0]))
    assert not has_pairs(rows(GENERATED, [0, 1, 2]))
    assert not has_pairs(rows(GENERATED, [None, None]))
    assert has_pairs(rows(GENERATED, [None, None], ["a", "a"]))
    assert not has_pairs(rows(GENERATED, [0, 0], ["a", "b"])), "one class, but not asked by it"
