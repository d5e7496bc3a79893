"""Training in float16, on CPU: steps that overflow are skipped, and a resume skips the same."""

from __future__ import annotations

import pytest
from tests.helpers.tiny_artifacts import publish_digits
from tests.helpers.training import train_config, weights_digest

from darkroom.errors import InterruptedBySignal
from darkroom.jobs.train.job import run
from darkroom.jobs.training import loss_scale
from darkroom.storage import open_artifact

HERE = {"num_workers": 0}
FIRST_SCALE = 2.0**40
"""Too much for the first steps; the run finds what fits."""


@pytest.fixture
def data(bucket_uri: str) -> str:
    publish_digits(f"{bucket_uri}/digits")
    return f"{bucket_uri}/digits"


def test_skipped_steps_are_steps_and_a_stopped_run_goes_on_with_its_scale(
    data: str, bucket_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss_scale, "_INITIAL", FIRST_SCALE)
    settings = {
        "max_steps": 40, "compute": {"precision": "float16"}, "workers": HERE,
        "on_existing": "resume", "log_every_steps": 1,
    }  # fmt: skip
    undisturbed = train_config(data, f"{bucket_uri}/undisturbed", **settings)
    stopped = train_config(data, f"{bucket_uri}/stopped", **settings)
    run(undisturbed)
    with pytest.raises(InterruptedBySignal):
        run(stopped, on_row=lambda row: "enough" if row["step"] == 7 else None)
    # A resumed run begins with what its checkpoint says.
    monkeypatch.setattr(loss_scale, "_INITIAL", 1.0)
    run(stopped)
    one, other = (open_artifact(config.output, kind="model") for config in (undisturbed, stopped))
    assert weights_digest(one) == weights_digest(other)
    columns = ("step", "loss", "grad_norm", "loss_scale", "skipped_steps")
    rows = one.read_table("metrics.parquet").select(columns).to_pydict()
    assert rows == other.read_table("metrics.parquet").select(columns).to_pydict()
    assert rows["step"] == list(range(41))
    skipped = rows["skipped_steps"][-1]
    assert 7 < skipped < 40, "the run was to be stopped among skipped steps, and to learn after"
    assert rows["loss_scale"][-1] == FIRST_SCALE / 2**skipped
    losses = [loss for loss in rows["loss"] if loss is not None]
    assert sum(losses[-5:]) < sum(losses[:5])
