"""Proof: a run on 4, then 2, then 3 workers computes what one that was never moved computes.

Three does not divide the batch of 32. Every row is met once per epoch, counted from what the
workers saw, and the losses of the 20 steps after each change are those of the undisturbed run.
"""

from __future__ import annotations

from collections import Counter
from itertools import chain
from pathlib import Path

import pytest
from tests.helpers.seen_rows import SeenRows, rows_by_step
from tests.helpers.tiny_artifacts import NUM_TRAIN, publish_digits
from tests.helpers.training import pointer_of, train_config

from darkroom.errors import InterruptedBySignal
from darkroom.jobs.artifacts.model import ModelInfo
from darkroom.jobs.session import ray_session
from darkroom.jobs.train.config import TrainConfig
from darkroom.jobs.train.job import UNetTraining
from darkroom.jobs.training.job import run_training
from darkroom.storage import Artifact, open_artifact

STEPS, BATCH_SIZE = 200, 32
FIRST_STOP, SECOND_STOP = 30, 80


def config(data: str, output: str, num_workers: int) -> TrainConfig:
    return train_config(
        data, output, max_steps=STEPS, log_every_steps=1, unet={"dropout": 0.0},
        validation={"every_steps": 20}, data={"horizontal_flip": True},
        workers={"num_workers": num_workers},
    )  # fmt: skip


def until(trained: SeenRows, step: int) -> int:
    """Train until about `step`; the step of the checkpoint that the next driver goes on from."""
    with pytest.raises(InterruptedBySignal):
        run_training(trained, on_row=lambda row: "enough" if row["step"] >= step else None)
    state = pointer_of(trained.config.output)
    assert state is not None
    return state.step


@pytest.mark.timeout(3600)
def test_four_then_two_then_three_workers(bucket_uri: str, tmp_path: Path) -> None:
    data, quiet, output = (f"{bucket_uri}/{name}" for name in ("data", "undisturbed", "model"))
    publish_digits(data)
    with ray_session():
        run_training(UNetTraining(config(data, quiet, 4)))
        first = until(SeenRows(config(data, output, 4), tmp_path), FIRST_STOP)
        second = until(SeenRows(config(data, output, 2), tmp_path), SECOND_STOP)
        run_training(SeenRows(config(data, output, 3), tmp_path))
    model = open_artifact(output)
    account = ModelInfo.of(model).account
    assert account is not None
    assert [attempt.num_workers for attempt in account.attempts] == [4, 2, 3]
    assert FIRST_STOP <= first < SECOND_STOP <= second < STEPS - 20

    seen = rows_by_step(tmp_path)
    assert list(seen) == list(range(STEPS))
    pairs = list(chain.from_iterable(seen.values()))
    assert len(pairs) == STEPS * BATCH_SIZE
    counts = Counter(pairs)
    assert set(counts.values()) == {1}, "a row twice in one epoch"
    per_epoch = Counter(epoch for _, epoch in pairs)
    whole = STEPS * BATCH_SIZE // NUM_TRAIN
    assert [per_epoch[epoch] for epoch in range(whole)] == [NUM_TRAIN] * whole

    found, expected = losses_of(model), losses_of(open_artifact(quiet))
    apart = [abs(a / b - 1) for a, b in zip(found, expected, strict=True)]
    for change in (first, second):
        print(f"20 steps from step {change}: {max(apart[change : change + 20]):.1e} apart")  # noqa: T201
        assert max(apart[change : change + 20]) < 1e-5


def losses_of(model: Artifact) -> list[float]:
    """Of every step."""
    losses: list[float] = model.read_table("metrics.parquet")["loss"].drop_null().to_pylist()
    return losses
