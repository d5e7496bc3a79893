"""A run that everything happened to ends with the very weights of one that nothing happened to.

Real processes, a real S3 server, real signals; nothing happens to a run in this process.
`make proof` does the same case by case for 1, 2 and 4 workers. The same runs show that the goodput
account has every second, and that Prometheus sees a run's figures.
"""

from __future__ import annotations

import json
import re
import signal
import time
from datetime import datetime
from pathlib import Path

import psutil
import pytest
from tests.helpers.tiny_artifacts import publish_digits
from tests.helpers.training import (
    Run,
    pointer_of,
    started,
    train_config,
    wait_for_step,
    wait_until,
    weights_digest,
)

from darkroom.jobs.artifacts.model import Goodput, ModelInfo
from darkroom.jobs.train.job import run as train
from darkroom.jobs.training.goodput import PARTS
from darkroom.jobs.training.telemetry import METRICS
from darkroom.storage import Artifact, open_artifact, open_store

STEPS = 160
METRICS_OFTEN = {"RAY_metrics_report_interval_ms": "500"}
"""Ray's own 10 s outlast a run."""


def step_now(output: str) -> int:
    state = pointer_of(output)
    assert state is not None
    return state.step


def kill_a_worker(run: Run) -> None:
    victim = run.workers()[-1]
    victim.send_signal(signal.SIGKILL)
    psutil.wait_procs([victim], timeout=120)


def scraped_until_its_end(run: Run) -> str:
    """What Prometheus gathers from Ray's metrics endpoint over a run: its last line of each."""
    lines: dict[str, str] = {}
    while run.process.poll() is None:
        for line in run.exported_metrics().splitlines():
            if line.startswith("ray_darkroom_"):
                lines[line.rpartition(" ")[0]] = line
        time.sleep(0.3)  # between two scrapes
    return "\n".join(lines.values())


def samples(text: str, name: str) -> list[tuple[dict[str, str], float]]:
    """Labels and value of every sample of a metric."""
    lines = re.findall(rf"^ray_{name}\{{(.*?)\}} (\S+)", text, flags=re.MULTILINE)
    return [(dict(re.findall(r'(\w+)="([^"]*)"', labels)), float(value)) for labels, value in lines]


def balanced_account(model: Artifact) -> Goodput:
    """The run's account, every attempt's parts checked against its own wall time."""
    account = ModelInfo.of(model).account
    assert account is not None
    for attempt in account.attempts:
        assert set(attempt.seconds) == set(PARTS)
        assert min(attempt.seconds.values()) >= 0
        worker_seconds = attempt.num_workers * (attempt.until - attempt.began_at)
        assert sum(attempt.seconds.values()) == pytest.approx(worker_seconds, rel=1e-6)
    return account


def recorded_work(output: str) -> float | None:
    """Useful worker-seconds that the running driver has put on record; None for none."""
    store = open_store(f"{output}/goodput")
    attempts = [a for info in store.list() for a in json.loads(store.get(info.key))["attempts"]]
    return sum(attempt["seconds"]["useful"] for attempt in attempts) or None


def published_at(model: Artifact) -> float:
    return datetime.fromisoformat(model.manifest.created_at).timestamp()


@pytest.mark.timeout(1800)
def test_kills_and_sigterm_leave_no_trace_in_the_weights(bucket_uri: str, tmp_path: Path) -> None:
    data = f"{bucket_uri}/data"
    publish_digits(data)
    quiet = train_config(
        data, f"{bucket_uri}/undisturbed", max_steps=STEPS, workers={"num_workers": 0}
    )
    began_at = time.time()
    train(quiet)
    undisturbed = open_artifact(quiet.output, kind="model")
    account = balanced_account(undisturbed)
    assert [attempt.ending for attempt in account.attempts] == ["completed"]
    assert account.worker_seconds["lost"] == account.worker_seconds["redone"] == 0
    assert account.wall_seconds == pytest.approx(published_at(undisturbed) - began_at, rel=0.1)
    output = f"{bucket_uri}/model"
    config = train_config(data, output, max_steps=STEPS)

    with started(config, tmp_path) as run:  # the driver and all of its Ray die
        wait_for_step(run, output, 20)
        wait_until(lambda: recorded_work(output), "work on record", run)
        began_at = run.began_at
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
        wall = time.time() - began_at
    log = run.log.read_text()
    first, restarted_at = (int(step) for step in re.findall(r"resuming from step (\d+)", log))
    assert first == killed_at
    assert re.search(r"rank \d \(pid \d+ on .*\) has died", log)
    assert restarted_at == worker_killed_at
    stopped_at = step_now(output)
    assert f"stopped at step {stopped_at} of {STEPS}" in log  # the last step is the saved one
    assert restarted_at < stopped_at < STEPS

    with started(config, tmp_path, METRICS_OFTEN) as run:  # the same command again ends it
        shown = scraped_until_its_end(run)
        assert run.wait() == 0, run.log.read_text()
    model = open_artifact(output, kind="model")
    wall += published_at(model) - run.began_at

    assert weights_digest(model) == weights_digest(undisturbed)
    metrics = model.read_table("metrics.parquet").to_pydict()
    reference = undisturbed.read_table("metrics.parquet").to_pydict()
    assert metrics["step"] == list(range(0, STEPS + 1, 5))  # no step twice, none missing
    for column in ("loss", "validation_loss", "grad_norm", "learning_rate"):
        # A stop between two rows starts their mean anew: the rows after it differ by that only.
        same = [a == b for a, b in zip(metrics[column], reference[column], strict=True)]
        assert sum(same) >= len(same) - 1, column
    assert open_artifact(output).digest == model.digest

    account = balanced_account(model)
    attempts = account.attempts
    endings = [attempt.ending for attempt in attempts]
    assert endings == ["killed", "worker_lost", "interrupted", "completed"]
    # The pause after the SIGTERM is nobody's; every other second is somebody's. A busy machine
    # takes seconds to end a process.
    assert account.wall_seconds == pytest.approx(wall, rel=0.1)
    assert account.total_worker_seconds == pytest.approx(wall, rel=0.1)
    assert [attempt.first_step for attempt in attempts] == [
        0, killed_at, restarted_at, stopped_at
    ]  # fmt: skip
    assert attempts[-1].last_step == STEPS
    for attempt in attempts:
        assert attempt.seconds["useful"] + attempt.seconds["redone"] > 0, attempts
        lost = attempt.ending in ("killed", "worker_lost")
        assert (attempt.seconds["lost"] > 0) is lost
    assert attempts[-1].seconds["redone"] == 0, "a clean stop undoes nothing"
    assert not list(open_store(output).list("goodput/")), "it stands in the manifest now"

    for name in METRICS:
        assert {labels["run"] for labels, _ in samples(shown, name)} == {output}, name
    parts = {labels["part"] for labels, _ in samples(shown, "darkroom_train_worker_seconds")}
    assert parts == set(PARTS)
    ((_, steps),) = samples(shown, "darkroom_train_step")
    assert stopped_at < steps <= STEPS
