"""The metrics log: rows by step, Parquet there and back, TensorBoard events."""

from __future__ import annotations

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from darkroom.jobs.training.metrics_log import MetricsLog


@pytest.fixture
def log() -> MetricsLog:
    filled = MetricsLog()
    filled.add(50, epoch=1, loss=0.5, seconds=2.0)
    filled.add(50, validation_loss=0.4)
    filled.add(100, epoch=2, loss=0.25, seconds=4.0)
    return filled


def test_a_step_has_one_row(log: MetricsLog) -> None:
    assert [row["step"] for row in log.rows] == [50, 100]
    assert log.rows[0]["validation_loss"] == 0.4
    assert log.last("validation_loss") == 0.4
    assert log.last("loss") == 0.25
    assert log.last("grad_norm") is None


def test_parquet_round_trip_continues_the_log(log: MetricsLog) -> None:
    again = MetricsLog.from_bytes(log.to_bytes())
    assert again.rows == log.rows
    again.add(150, loss=0.1)
    assert [row["step"] for row in again.rows] == [50, 100, 150]


def test_tensorboard_holds_each_scalar_once(log: MetricsLog, tmp_path: Path) -> None:
    path = log.write_tensorboard(tmp_path)
    seen = [
        (value.tag, event.step)
        for event in EventFileLoader(str(path)).Load()
        for value in event.summary.value
    ]
    assert sorted(seen) == [
        ("loss", 50),
        ("loss", 100),
        ("seconds", 50),
        ("seconds", 100),
        ("validation_loss", 50),
    ]
