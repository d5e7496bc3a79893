"""A quick look is a draw over all groups, the same for the same seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.helpers.measured import one_picture_reference, seen
from tests.helpers.pictures import encoded
from tests.helpers.tiny_artifacts import publish_samples

from darkroom.config import build_config
from darkroom.jobs.classify.config import ClassifyConfig
from darkroom.jobs.classify.source import find_pictures, ids_on_page
from darkroom.jobs.pictures.listing import Item
from darkroom.jobs.pictures.shape import ImageShape
from darkroom.jobs.prepare.config import PrepareConfig
from darkroom.jobs.prepare.plan import plan_pieces
from darkroom.jobs.seeding import sample

NAMES = [f"{group}/{number:03d}" for group in "ab" for number in range(40)]
GROUPS = [name[0] for name in NAMES]


def drawn(limit: int | None, seed: int = 0, groups: Sequence[str] = GROUPS) -> list[int]:
    return sample(NAMES[: len(groups)], groups, limit=limit, seed=seed)


@pytest.mark.parametrize("limit", [2, 20, 21, 79])
def test_every_group_is_drawn_from_in_proportion(limit: int) -> None:
    counts = Counter(GROUPS[at] for at in drawn(limit))
    assert sum(counts.values()) == limit
    assert abs(counts["a"] - counts["b"]) <= 1


def test_a_small_group_is_not_left_out() -> None:
    groups = ["large"] * 77 + ["small"] * 3
    counts = Counter(groups[at] for at in drawn(20, groups=groups))
    assert counts["small"] in (1, 2)
    assert len({groups[at] for at in drawn(1, groups=groups)}) == 1


def test_a_draw_is_the_seeds_and_grows_with_the_limit() -> None:
    assert drawn(20) == drawn(20) == sorted(drawn(20))
    assert drawn(20) != drawn(20, seed=1)
    assert set(drawn(19)) < set(drawn(20))
    assert drawn(None) == drawn(80) == drawn(1000) == list(range(80))
    # Not by position: the first of each group are no sample of it.
    assert drawn(20) != [*range(10), *range(40, 50)]


# The same in each verb, on two classes of forty.

PICTURE = encoded(Image.new("L", (8, 8)), "PNG")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("limit") / "in"
    for name in NAMES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / f"{name}.png").write_bytes(PICTURE)
    return root


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> str:
    uri = tmp_path_factory.mktemp("reference")
    return one_picture_reference(uri, PICTURE, ImageShape(8, 8, 1), classes=["a", "b"])


def test_evaluate_looks_at_all_classes_of_a_folder(folder: Path, reference: str) -> None:
    assert Counter(seen(folder, reference, limit=20).labels) == {0: 10, 1: 10}


def test_evaluate_looks_at_all_classes_of_samples(tmp_path: Path, reference: str) -> None:
    labels = [GROUPS.index(group) // 40 for group in GROUPS]
    publish_samples(tmp_path, np.zeros((80, 1, 8, 8), np.uint8), labels, classes=["a", "b"])
    assert seen(tmp_path, reference, limit=20).labels == [0] * 10 + [1] * 10


def test_classify_looks_at_all_classes(folder: Path) -> None:
    config = ClassifyConfig(input=str(folder), output=str(folder / "../out"), limit=20)
    assert Counter(find_pictures(config).rows["expected"].to_pylist()) == {"a": 10, "b": 10}


def test_the_page_of_predictions_shows_all_classes(folder: Path) -> None:
    config = ClassifyConfig(
        input=str(folder), output=str(folder / "../out"), limit=40, num_thumbnails=10
    )
    ids = ids_on_page(find_pictures(config), config)
    assert ids is not None
    assert Counter(name[0] for name in ids.to_pylist()) == {"a": 5, "b": 5}
    assert ids_on_page(find_pictures(config), config.model_copy(update={"limit": None})) is None


def test_prepare_looks_at_all_classes_and_splits() -> None:
    items = [
        Item(f"{split}/{name}", name, label=int(name[0] == "b"), split=split)
        for split in ("train", "test")
        for name in NAMES
    ]  # fmt: skip
    values = {"source": {"kind": "digits"}, "output": "out", "limit": 20}
    pieces = plan_pieces(items, build_config(PrepareConfig, values))
    counts = Counter((item.split, item.label) for piece in pieces for item in piece.items)
    assert counts == {(split, label): 5 for split in ("train", "test") for label in (0, 1)}
