"""A run that everything happened to ends with the very weights of one that nothing happened to.

Real processes, a real S3 server, real signals, two workers. `make proof` does the same case by
case for 1, 2 and 4 workers.
"""

from __future__ import annotations

import signal
from pathlib import Path

import psutil
import pytest
from tests.helpers.tiny_artifacts import publish_digits
from tests.helpers.training import (
    Run,
    complete,
    pointer_of,
    started,
    train_config,
    wait_for_step,
    weights_digest,
)

from darkroom.storage import open_artifact

STEPS = 200


def step_now(output: str) -> int:
    state = pointer_of(output)
    assert state is not None
    return state.step


def kill_a_worker(run: Run) -> None:
    victim = run.workers()[-1]
    victim.send_signal(signal.SIGKILL)
    psutil.wait_procs([victim], timeout=30)


@pytest.mark.timeout(600)
def test_kills_and_sigterm_leave_no_trace_in_the_weights(bucket_uri: str, tmp_path: Path) -> None:
    data = f"{bucket_uri}/data"
    publish_digits(data)
    two_workers = {"max_steps": STEPS, "workers": {"num_workers": 2}}
    undisturbed = complete(
        train_config(data, f"{bucket_uri}/undisturbed", **two_workers), tmp_path / "undisturbed"
    )
    output = f"{bucket_uri}/model"
    config = train_config(data, output, **two_workers)

    with started(config, tmp_path) as run:  # the driver and all of its Ray die
        wait_for_step(run, output, 20)
        run.kill_everything()
    killed_at = step_now(output)
    assert 20 <= killed_at < STEPS

    with started(config, tmp_path) as run:  # a worker dies, then the pod is told to go
        wait_for_step(run, output, killed_at + 10)
        kill_a_worker(run)
        worker_killed_at = step_now(output)
        assert worker_killed_at < STEPS
        wait_for_step(run, output, worker_killed_at + 10)
        run.process.send_signal(signal.SIGTERM)
        assert run.wait() == 143, run.log.read_text()
    log = run.log.read_text()
    assert f"resuming from step {killed_at}" in log
    # The worker died before the next checkpoint was published, so the steps that are redone are
    # fewer than lie between two checkpoints.
    assert f"resuming from step {worker_killed_at}" in log
    stopped_at = step_now(output)
    assert f"stopped at step {stopped_at} of {STEPS}" in log  # the last step is the saved one
    assert worker_killed_at < stopped_at < STEPS

    model = complete(config, tmp_path)  # the same command again ends it

    assert weights_digest(model) == weights_digest(undisturbed)
    metrics = model.read_table("metrics.parquet").to_pydict()
    reference = undisturbed.read_table("metrics.parquet").to_pydict()
    assert metrics["step"] == list(range(5, STEPS + 1, 5))  # no step twice, none missing
    for column in ("loss", "validation_loss", "grad_norm", "learning_rate"):
        # A stop between two rows starts their mean anew: the rows after it differ by that only.
        same = [a == b for a, b in zip(metrics[column], reference[column], strict=True)]
        assert sum(same) >= len(same) - 1, column
    assert open_artifact(output).digest == model.digest
