"""A run goes on with other workers, with less memory than it hoped for, and beyond its end.

One worker is this very process. `make proof` changes the number twice, by signals, and counts
every row.
"""

from __future__ import annotations

from typing import Any

import pytest
from tests.helpers.memory import Memory, SmallMemory
from tests.helpers.tiny_artifacts import publish_digits
from tests.helpers.training import pointer_of, train_config, weights_digest

from darkroom.errors import ConfigError, InterruptedBySignal
from darkroom.jobs.artifacts.model import ModelInfo
from darkroom.jobs.train.config import TrainConfig
from darkroom.jobs.train.job import UNetTraining
from darkroom.jobs.training.job import run_training
from darkroom.storage import Artifact, open_artifact

STEPS = 80
"""More than a fast machine does in the seconds that a stop takes to the workers."""


HALF = STEPS // 2


def config(data: str, output: str, num_workers: int, **changes: Any) -> TrainConfig:
    return train_config(
        data, output, max_steps=STEPS, log_every_steps=1, unet={"dropout": 0.0},
        validation={"every_steps": STEPS}, checkpoint={"every_steps": HALF},
        data={"horizontal_flip": True}, workers={"num_workers": num_workers}, **changes,
    )  # fmt: skip


@pytest.fixture(scope="module")
def data(s3_module_uri: str) -> str:
    uri = f"{s3_module_uri}/digits-workers"
    publish_digits(uri)
    return uri


@pytest.fixture(scope="module")
def undisturbed(data: str, s3_module_uri: str) -> Artifact:
    quiet = config(data, f"{s3_module_uri}/no-workers", 0)
    run_training(UNetTraining(quiet))
    return open_artifact(quiet.output)


@pytest.mark.timeout(1800)
def test_a_run_from_the_middle_of_another_ends_as_that_one_did(
    data: str, undisturbed: Artifact, bucket_uri: str
) -> None:
    state = pointer_of(str(undisturbed.uri))
    assert state is not None
    (half,) = (kept for kept in state.kept if kept.step == HALF)
    init_from = {"uri": f"{undisturbed.uri}/{half.checkpoint}"}
    run_training(UNetTraining(config(data, bucket_uri, 0, init_from=init_from)))
    model = open_artifact(bucket_uri)
    assert weights_digest(model) == weights_digest(undisturbed)
    assert losses_of(model) == losses_of(undisturbed)[HALF:]
    assert [parent.role for parent in model.manifest.parents] == ["data", "init_from", "checkpoint"]
    assert model.manifest.parents[1].digest == half.digest
    finished = {"uri": str(undisturbed.uri)}  # a model: its checkpoint is that of the last step
    with pytest.raises(ConfigError, match=f"max_steps: .* starts at step {STEPS} of "):
        run_training(UNetTraining(config(data, f"{bucket_uri}/more", 0, init_from=finished)))


@pytest.mark.usefixtures("ray_local")
@pytest.mark.timeout(1800)
def test_three_workers_then_two_of_which_one_has_little_memory(
    data: str, undisturbed: Artifact, bucket_uri: str, darkroom_log: list[str]
) -> None:
    output = bucket_uri
    with pytest.raises(InterruptedBySignal):  # 32 rows as 11, 11 and 10
        run_training(
            UNetTraining(config(data, output, 3)),
            on_row=lambda row: "enough" if row["step"] >= 5 else None,
        )
    state = pointer_of(output)
    assert state is not None
    assert 5 <= state.step < STEPS
    resumed_from = state.step

    little = Memory(rank=1, most_rows=8, from_step=resumed_from + 2)
    run_training(SmallMemory(config(data, output, 2), little))

    model = open_artifact(output)
    account = ModelInfo.of(model).account
    assert account is not None
    assert [attempt.num_workers for attempt in account.attempts] == [3, 2]
    assert [attempt.first_step for attempt in account.attempts] == [0, resumed_from]
    found, expected = losses_of(model), losses_of(undisturbed)
    assert len(expected) == STEPS
    window = slice(resumed_from, resumed_from + 20)
    assert found[:resumed_from] == pytest.approx(expected[:resumed_from], rel=1e-5)
    assert found[window] == pytest.approx(expected[window], rel=1e-5)
    sizes = [int(row["micro_batch_size"]) for row in logged(model)]
    assert sizes[:resumed_from] == [11] * resumed_from
    assert sizes[resumed_from:] == [16] * 2 + [8] * (STEPS - resumed_from - 2)
    (said,) = (line for line in darkroom_log if "out of memory" in line)
    assert f"rank 1 ran out of memory at step {little.from_step} with 16 rows at once" in said


def losses_of(model: Artifact) -> list[float]:
    """Of every step."""
    return [row["loss"] for row in logged(model)]


def logged(model: Artifact) -> list[dict[str, Any]]:
    """A row of every step; that of the validation before the first is not one."""
    rows: list[dict[str, Any]] = model.read_table("metrics.parquet").to_pylist()
    return [row for row in rows if row["step"]]
