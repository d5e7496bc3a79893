"""The table for people says what must be said with each figure."""

from __future__ import annotations

from typing import Any

from darkroom.jobs.artifacts.evaluation import (
    Evaluation,
    Measured,
    Metric,
    RealMeasured,
    ReferenceFacts,
)
from darkroom.jobs.measuring.words import floor, interval, markdown_table, notes, shown

REAL = RealMeasured(value=0.5, n=500, lower=0.4, upper=0.6)


def metric(value: float, floor: RealMeasured = REAL, **more: Any) -> Metric:
    return Metric(value=value, n=500, lower=value * 0.9, upper=value * 1.1, floor=floor, **more)


def test_shares_are_per_cent_and_distances_have_three_digits() -> None:
    assert shown("class_accuracy", 0.9714) == "97.1%"
    assert shown("frechet_pixels", 0.15634) == "0.156"
    assert shown("frechet_pixels", 0.6) == "0.600"
    assert shown("frechet_pixels", 123.4) == "123"


def test_an_interval_may_be_missing() -> None:
    assert interval("frechet_pixels", metric(1.0)) == "0.900 to 1.10"
    assert interval("frechet_pixels", Measured(value=1.0, n=5)) == ""


def test_a_floor_says_its_n_where_it_is_another() -> None:
    assert floor("frechet_pixels", metric(1.0)) == "0.500 (0.400 to 0.600)"
    fewer = metric(1.0, RealMeasured(value=0.5, n=360))
    assert floor("frechet_pixels", fewer) == "0.500, N = 360"


def test_what_is_wrong_is_said() -> None:
    assert notes(metric(1.0)) == []
    assert "biased: N = 500 is small" in notes(metric(1.0, biased=True))
    assert "MEMORISING" in notes(metric(1.0, memorising=True))
    assert any("NEAR CHANCE" in note for note in notes(metric(0.1, near_chance=True, chance=0.1)))
    assert "1.07 times its floor" in notes(metric(1.0, ratio=1.0712))


def test_the_table_has_a_row_per_metric_and_names_what_was_left_out() -> None:
    table = markdown_table(
        Evaluation(
            num_images=500,
            content="",
            dead_letters={"truncated": 2},
            confidence=0.95,
            reference=ReferenceFacts(content="", num_train=1000, num_test=360),
            metrics={"frechet_pixels": metric(1.0), "memorisation": metric(0.98)},
            skipped={"class_accuracy": "the pictures have no classes"},
        )
    )
    rows = [line for line in table.splitlines() if line.startswith("| ")]
    assert len(rows) == 3
    assert "95% interval" in rows[0]
    assert all(row.count("|") == rows[0].count("|") for row in rows)
    assert "left out, the pictures have no classes" in table
    assert "2 files of the input cannot be used: `truncated`" in table
