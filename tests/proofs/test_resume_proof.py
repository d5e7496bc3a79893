"""Proof: a run that was killed ends with the very weights of one that was not.

Real processes, a real S3 server, SIGKILL, for 1, 2 and 4 workers. Each case compares the
sha256 of the published weights with that of an undisturbed run on as many workers.
"""

from __future__ import annotations

import signal
import uuid
from pathlib import Path

import psutil
import pytest
from tests.conftest import TEST_BUCKET
from tests.helpers.tiny_artifacts import publish_digits
from tests.helpers.training import (
    attach,
    complete,
    pointer_of,
    started,
    train_config,
    wait_for_step,
    wait_until,
    weights_digest,
)

from darkroom.errors import FencedError
from darkroom.storage import Artifact, EmbeddedServer, RunPointer, open_artifact

STEPS = 200


@pytest.fixture(scope="module")
def s3_module_uri(s3: EmbeddedServer) -> str:
    """An S3 prefix for what several tests read."""
    return f"s3://{TEST_BUCKET}/proof-{uuid.uuid4().hex}"


@pytest.fixture(scope="module")
def data(s3_module_uri: str) -> str:
    uri = f"{s3_module_uri}/digits"
    publish_digits(uri)
    return uri


@pytest.fixture(scope="module")
def undisturbed(
    data: str, s3_module_uri: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[int, Artifact]:
    """The models of runs that nothing happened to, by number of workers."""
    models = {}
    for num_workers in (1, 2, 4):
        config = train_config(
            data,
            max_steps=STEPS,
            output=f"{s3_module_uri}/undisturbed-{num_workers}",
            workers={"num_workers": num_workers},
        )
        models[num_workers] = complete(config, tmp_path_factory.mktemp("undisturbed"))
    return models


@pytest.mark.parametrize("num_workers", [1, 2, 4])
def test_driver_and_ray_killed_then_rerun(
    num_workers: int, data: str, bucket_uri: str, undisturbed: dict[int, Artifact], tmp_path: Path
) -> None:
    config = train_config(data, bucket_uri, max_steps=STEPS, workers={"num_workers": num_workers})
    with started(config, tmp_path) as run:
        wait_for_step(run, bucket_uri, 20)
        run.kill_everything()
    interrupted = pointer_of(bucket_uri)
    assert interrupted is not None
    assert 20 <= interrupted.step < config.max_steps

    model = complete(config, tmp_path)

    assert weights_digest(model) == weights_digest(undisturbed[num_workers])
    metrics = model.read_table("metrics.parquet").to_pydict()
    assert metrics["step"] == list(range(0, STEPS + 1, 5))  # no step twice, none missing
    reference = undisturbed[num_workers].read_table("metrics.parquet").to_pydict()
    assert metrics["loss"] == reference["loss"]
    assert metrics["validation_loss"] == reference["validation_loss"]


def test_worker_killed_recovers_alone(
    data: str, bucket_uri: str, undisturbed: dict[int, Artifact], tmp_path: Path
) -> None:
    config = train_config(data, bucket_uri, max_steps=STEPS, workers={"num_workers": 2})
    with started(config, tmp_path) as run:
        wait_for_step(run, bucket_uri, 20)
        victim = run.workers()[0]
        victim.send_signal(signal.SIGKILL)
        psutil.wait_procs([victim], timeout=30)
        at_kill = pointer_of(bucket_uri)
        assert run.wait() == 0, run.log.read_text()
    assert at_kill is not None
    assert at_kill.step < config.max_steps
    log = run.log.read_text()
    # It died before the checkpoint after the newest one was published, so what it redoes is
    # less than the interval and a step.
    assert f"resuming from step {at_kill.step}" in log
    assert weights_digest(open_artifact(bucket_uri)) == weights_digest(undisturbed[2])


def test_sigterm_saves_exits_143_and_loses_no_step(
    data: str, bucket_uri: str, undisturbed: dict[int, Artifact], tmp_path: Path
) -> None:
    config = train_config(data, bucket_uri, max_steps=STEPS, checkpoint={"every_steps": STEPS})
    with started(config, tmp_path) as run:
        wait_until(lambda: "started at step 0" in run.log.read_text() or None, "step 0", run)
        run.process.send_signal(signal.SIGTERM)
        assert run.wait() == 143, run.log.read_text()
    log = run.log.read_text()
    stopped = pointer_of(bucket_uri)
    assert stopped is not None
    assert 0 < stopped.step < config.max_steps
    assert f"stopped at step {stopped.step} of {STEPS}" in log  # the last step is the saved one

    model = complete(config, tmp_path)

    assert weights_digest(model) == weights_digest(undisturbed[1])


def test_a_second_driver_takes_over_and_the_first_publishes_nothing_more(
    data: str, bucket_uri: str, undisturbed: dict[int, Artifact], tmp_path: Path
) -> None:
    config = train_config(data, bucket_uri, max_steps=STEPS)
    with (
        started(config, tmp_path / "first") as first,
        started(config, tmp_path / "second") as second,
    ):
        codes = {first.wait(), second.wait()}
        logs = first.log.read_text(), second.log.read_text()
    assert codes == {0, 1}, logs
    assert any("another driver took this run over" in log or "took this run" in log for log in logs)
    assert weights_digest(open_artifact(bucket_uri)) == weights_digest(undisturbed[1])


def test_a_damaged_checkpoint_is_passed_over(
    data: str, bucket_uri: str, undisturbed: dict[int, Artifact], tmp_path: Path
) -> None:
    config = train_config(data, bucket_uri, max_steps=STEPS)
    with started(config, tmp_path) as run:
        wait_for_step(run, bucket_uri, 20)
        run.kill_everything()
    pointer = attach(bucket_uri)
    newest = open_artifact(pointer.output / str(pointer.state.checkpoint))
    entry = newest.entry("state.ckpt")
    data_bytes = bytearray(newest.store.get(entry.key))
    data_bytes[len(data_bytes) // 2] ^= 1
    newest.store.put(entry.key, bytes(data_bytes))

    with started(config, tmp_path) as run:
        assert run.wait() == 0, run.log.read_text()

    assert f"checkpoint of step {pointer.state.step} is damaged" in run.log.read_text()
    assert weights_digest(open_artifact(bucket_uri)) == weights_digest(undisturbed[1])


def test_a_driver_that_was_superseded_is_fenced(bucket_uri: str, data: str) -> None:
    config = train_config(data, bucket_uri, max_steps=STEPS)
    old = RunPointer.claim(bucket_uri, owner="old", config=config)
    RunPointer.claim(bucket_uri, owner="new", config=config)
    with pytest.raises(FencedError, match="took this run over"):
        RunPointer.attach(bucket_uri, owner=old.owner)
