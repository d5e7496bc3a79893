"""Features come back from committed parts as they were made, set by set and in order."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from darkroom.jobs.measuring.comparison import (
    LABEL,
    PIXELS,
    SET,
    collected,
    column_bytes,
    feature_column,
)

RANDOM = np.random.default_rng(0)


def test_rows_are_a_column_of_bytes_and_back() -> None:
    rows = RANDOM.random((7, 3), np.float32)
    column = pa.chunked_array([feature_column(rows[:4]), feature_column(rows[4:]).slice(1)])
    assert [len(value.as_py()) for value in column] == [12] * 6
    back = column_bytes(column).view(np.float32).reshape(-1, 3)
    assert np.array_equal(back, np.delete(rows, 4, axis=0))
    assert len(column_bytes(pa.chunked_array([], pa.large_binary()))) == 0


def test_parts_are_collected_set_by_set_in_order() -> None:
    sets = ["generated"] * 5 + ["train"] * 9 + ["test"] * 6
    pixels = RANDOM.integers(0, 256, (20, 4), dtype=np.uint8)
    deep = RANDOM.random((20, 3), np.float32)
    labels: list[int | None] = [None, *range(19)]
    table = pa.table(
        {
            SET: sets,
            LABEL: pa.array(labels, pa.int64()),
            PIXELS: feature_column(pixels),
            "deep": feature_column(deep),
        }
    )
    parts = [table.slice(start, 6) for start in range(0, 20, 6)]
    with collected(parts, [PIXELS, "deep"], classes=("a",), digests={}) as comparison:
        generated, train, test = comparison.rows("deep")
        assert np.array_equal(np.concatenate([generated[:], train[:], test[:]]), deep)
        assert np.array_equal(comparison.test.features[PIXELS].stored, pixels[14:])
        assert np.array_equal(comparison.train.features[PIXELS][1:3], pixels[6:8] / 255)
        assert comparison.generated.labels is None
        assert comparison.test.labels is not None
        assert comparison.test.labels.tolist() == labels[14:]
        assert [len(one) for one in (comparison.generated, comparison.test)] == [5, 6]


def test_a_second_set_stands_beside_the_first_and_shares_the_real_ones() -> None:
    sets = ["generated"] * 3 + ["against"] * 3 + ["train"] * 4 + ["test"] * 2
    deep = RANDOM.random((12, 3), np.float32)
    table = pa.table(
        {SET: sets, LABEL: pa.array([0] * 12, pa.int64()), "deep": feature_column(deep)}
    )
    with collected([table], ["deep"], classes=(), digests={}, is_paired=True) as comparison:
        second = comparison.against
        assert second is not None
        assert comparison.is_paired
        assert np.array_equal(comparison.generated.features["deep"][:], deep[:3])
        assert np.array_equal(second.generated.features["deep"][:], deep[3:6])
        assert second.test is comparison.test
        assert comparison.once_of_real("a", lambda: 1) == second.once_of_real("a", lambda: 2) == 1
        assert [one.once("b", lambda: 1) for one in (comparison, second)] == [1, 1]
        assert second.once("b", lambda: 3) == 1
        assert comparison.once("c", lambda: 1) != second.once("c", lambda: 2)
    with collected([table[:3]], ["deep"], classes=(), digests={}) as alone:
        assert alone.against is None
        assert not alone.has_training_split
