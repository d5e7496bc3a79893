"""A study on a real Ray: its trials as tasks, side by side."""

from __future__ import annotations

from typing import Any

import pytest
from tests.helpers.tiny_artifacts import publish_digits
from tests.helpers.tune_runs import RUN, study_config, trials_of

from darkroom.jobs.tune.job import run


@pytest.mark.usefixtures("ray_local")
def test_on_ray_trials_run_side_by_side_and_end_as_in_one_process(
    bucket_uri: str,
) -> None:
    data = f"{bucket_uri}/digits"
    publish_digits(data)
    grid: dict[str, Any] = {
        "search": {"kind": "grid"},
        "space": {"optimizer.learning_rate": {"kind": "choice", "values": [1e-3, 1e-2, 1e30]}},
        "run": {**RUN, "optimizer": {"max_grad_norm": None}, "lr_schedule": {"warmup_steps": 0}},
    }
    here = study_config(data, f"{bucket_uri}/here", **grid)
    there = study_config(data, f"{bucket_uri}/there", **{**grid, "trials_at_once": 2})
    run(here)
    result = run(there)
    assert result["trials"] == {"complete": 2, "failed": 1}
    assert [(trial.tried, trial.ending.state, trial.ending.value) for trial in trials_of(here)] == [
        (trial.tried, trial.ending.state, trial.ending.value) for trial in trials_of(there)
    ]
