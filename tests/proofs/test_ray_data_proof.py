"""Proof: a stopped run with `data.ingest: ray_data` starts its epoch anew and ends."""

from __future__ import annotations

import pytest
from tests.helpers.tiny_artifacts import publish_digits
from tests.helpers.training import pointer_of, train_config

from darkroom.errors import InterruptedBySignal
from darkroom.jobs.train.job import run as train
from darkroom.storage import open_artifact

STEPS = 120
"""More than a fast machine does in the seconds that a signal takes to the workers."""


@pytest.mark.timeout(1800)
def test_a_stopped_run_starts_its_epoch_anew_and_ends(
    ray_local: str, bucket_uri: str, darkroom_log: list[str]
) -> None:
    data, output = f"{bucket_uri}/data", f"{bucket_uri}/model"
    publish_digits(data)
    config = train_config(data, output, max_steps=STEPS, data={"ingest": "ray_data"})
    with pytest.raises(InterruptedBySignal):
        train(config, on_row=lambda row: "enough" if row["step"] >= 20 else None)
    state = pointer_of(output)
    assert state is not None
    assert 20 <= state.step < STEPS
    train(config)
    assert f"resuming from step {state.step}" in darkroom_log
    model = open_artifact(output, kind="model")
    log = model.read_table("metrics.parquet").to_pydict()
    assert log["step"] == list(range(0, STEPS + 1, 5))
    assert log["loss"][-1] < log["loss"][1]
    assert log["epoch"] == sorted(log["epoch"])
