"""One piece through the task's function, without Ray: rows, copies, dead letters."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import _imaging
from tests.helpers import pictures as files

from darkroom.config import build_config
from darkroom.jobs.batch.stage import run_stage
from darkroom.jobs.pictures.config import Split
from darkroom.jobs.pictures.listing import Item
from darkroom.jobs.prepare.config import PrepareConfig
from darkroom.jobs.prepare.plan import PlannedPiece
from darkroom.jobs.prepare.rows import DATASET_SCHEMA, decoding, item_table
from darkroom.jobs.rejects import Reject, Rejects

AUGMENT = {"copies": 2, "horizontal_flip": 0.5, "crop": {"min_area": 0.3}}


def processed(
    items: list[Item], split: Split = "train", rejects: list[Reject] | None = None, **values: Any
) -> pa.Table:
    """Through the stage as the core runs it, which checks that no row is lost or doubled."""
    config = build_config(PrepareConfig, {"source": {"kind": "digits"}, "output": "out", **values})
    stage, found = decoding(config), Rejects("decode")
    table = run_stage(stage, stage.make(), item_table(PlannedPiece(split, items)), found, None)
    assert rejects is not None or not found.found
    if rejects is not None:
        rejects += found.found
    return table


def photo(name: str, data: bytes | None = None, **fields: Any) -> Item:
    data = files.encoded(files.thumbnail()) if data is None else data
    return Item(id=name, path=f"{name}.jpg", data=data, **fields)


def test_the_task_s_process_uses_pictures_memory_again() -> None:
    _imaging.set_blocks_max(0)  # Pillow's own default
    processed([photo("a")])
    assert _imaging.get_blocks_max() > 0


def test_rows_carry_what_the_item_says() -> None:
    table = processed([photo("a", label=3, caption="a street")], "test")
    assert table.schema == DATASET_SCHEMA
    (row,) = table.to_pylist()
    assert row.pop("image") == files.encoded(files.thumbnail())
    assert row == {
        "id": "a",
        "label": 3,
        "caption": "a street",
        "split": "test",
        "width": 64,
        "height": 48,
    }


def test_a_bad_file_is_rejected_and_the_others_stay() -> None:
    rejects: list[Reject] = []
    table = processed([photo("a"), photo("b", b""), photo("c")], "train", rejects, augment=AUGMENT)
    assert rejects == [Reject("b", "decode", "empty", "0 bytes")]
    assert sorted(table["id"].to_pylist()) == ["a", "a~1", "a~2", "c", "c~1", "c~2"]


@pytest.mark.parametrize("split", ["validation", "test"])
def test_only_training_is_augmented(split: Split) -> None:
    assert processed([photo("a")], split, augment=AUGMENT)["id"].to_pylist() == ["a"]


def test_copies_keep_the_size_and_the_label_and_differ() -> None:
    rows = processed([photo("a", label=1)], augment=AUGMENT).to_pylist()
    assert {(row["width"], row["height"], row["label"]) for row in rows} == {(64, 48, 1)}
    assert {files.decoded(row["image"]).shape for row in rows} == {(48, 64, 3)}
    assert len({row["image"] for row in rows}) == 3


def test_redone_piece_is_byte_equal_whatever_the_neighbours() -> None:
    alone = processed([photo("a")], augment=AUGMENT)
    assert processed([photo("a")], augment=AUGMENT).equals(alone)
    both = {
        row["id"]: row for row in processed([photo("b"), photo("a")], augment=AUGMENT).to_pylist()
    }
    assert [both[row["id"]] for row in alone.to_pylist()] == alone.to_pylist()


def test_copies_are_spread_over_the_piece() -> None:
    items = [photo(f"{index:02d}") for index in range(40)]
    ids = processed(items, augment=AUGMENT)["id"].to_pylist()
    adjacent = sum(a.split("~")[0] == b.split("~")[0] for a, b in pairwise(ids))
    assert adjacent < 12


def test_size_and_channels_are_what_was_asked() -> None:
    (row,) = processed([photo("a")], image_size=[16, 20], channels=1).to_pylist()
    assert (row["height"], row["width"]) == (16, 20)
    assert files.decoded(row["image"]).shape == (16, 20)


def test_keep_stores_untouched_files_as_they_are_and_encodes_the_others() -> None:
    plain = files.encoded(files.thumbnail(), "WEBP")
    turned = files.exif_rotated(files.thumbnail(), 6)
    rows = processed([photo("plain", plain), photo("turned", turned)]).to_pylist()
    stored = {row["id"]: row for row in rows}
    assert stored["plain"]["image"] == plain
    assert stored["turned"]["image"] != turned
    assert (stored["turned"]["width"], stored["turned"]["height"]) == (48, 64)
    assert stored["turned"]["image"].startswith(b"\xff\xd8")  # still a JPEG


def test_encoding_asked_for_is_used_even_for_untouched_files() -> None:
    (row,) = processed([photo("a")], encoding={"format": "png"}).to_pylist()
    expected = files.decoded(files.encoded(files.thumbnail()))
    assert np.array_equal(files.decoded(row["image"]), expected)
    assert row["image"].startswith(b"\x89PNG")


def test_file_over_the_limit_is_not_even_read() -> None:
    # Its source could not read it: the digits' items always carry their bytes.
    item = Item(id="a", path="a.jpg", size=10_000)
    rejects: list[Reject] = []
    assert not len(processed([item], "train", rejects, limits={"max_bytes": 9_999}))
    assert rejects == [Reject("a", "read", "too_many_bytes", "10000 bytes; at most 9999")]
