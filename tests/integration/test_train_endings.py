"""What a training run publishes, and the ways in which it ends without a fault of the machine.

None needs workers: the runs train in this process, as `workers.num_workers: 0` has it.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import DDPMPipeline
from tests.helpers.tiny_artifacts import publish_digits
from tests.helpers.training import pointer_of, train_config

from darkroom.errors import NonFiniteLossError, OutputExistsError
from darkroom.jobs.artifacts.model import HISTOGRAMS_FILE, ModelInfo
from darkroom.jobs.train.job import run
from darkroom.storage import open_artifact

HERE = {"num_workers": 0}


@pytest.fixture(scope="module")
def data(s3_module_uri: str) -> str:
    uri = f"{s3_module_uri}/digits-endings"
    publish_digits(uri)
    return uri


@pytest.fixture(scope="module")
def model_uri(data: str, s3_module_uri: str) -> str:
    uri = f"{s3_module_uri}/model"
    settings = {"optimizer": {"accumulation_steps": 2}, "histograms_every_steps": 15}
    run(train_config(data, uri, max_steps=20, workers=HERE, **settings))
    return uri


def test_publishes_a_folder_that_diffusers_loads(model_uri: str, tmp_path: Path) -> None:
    model = open_artifact(model_uri, kind="model")
    folder = model.download(tmp_path, prefix="model/")
    pipeline = DDPMPipeline.from_pretrained(folder)
    x = torch.zeros(2, 1, 8, 8)
    out = pipeline.unet(x, torch.tensor(5), class_labels=torch.tensor([0, 10])).sample
    assert out.shape == x.shape
    assert pipeline.scheduler.config.num_train_timesteps == 100
    card = (folder / "model_card.md").read_text()
    data, checkpoint = model.manifest.parents
    assert (data.role, checkpoint.role) == ("data", "checkpoint")
    assert open_artifact(data.uri).content_digest in card
    assert "null class" in card


def test_publishes_the_metrics_as_parquet_and_tensorboard(model_uri: str) -> None:
    model = open_artifact(model_uri, kind="model")
    metrics = model.read_table("metrics.parquet").to_pydict()
    assert metrics["step"] == [0, 5, 10, 15, 20]
    at_start = ("step", "epoch", "seconds")
    for name, values in metrics.items():
        expected = 2 if name == "validation_loss" else 5 if name in at_start else 4
        assert sum(value is not None for value in values) == expected, name
    assert all(value > 0 for value in metrics["images_per_second"][1:])
    assert model.entries("tensorboard/")
    spread = model.read_table(HISTOGRAMS_FILE).to_pydict()
    assert sorted({*spread["step"]}) == [15, 20]
    assert {"weights/network.conv_in", "gradients/network.conv_in"} <= {*spread["name"]}


def test_a_published_run_is_refused_and_resume_returns_it(model_uri: str, data: str) -> None:
    config = train_config(data, model_uri, max_steps=20, optimizer={"accumulation_steps": 2})
    assert config.workers.num_workers == 1  # which is another way to train the same model
    with pytest.raises(OutputExistsError, match="--resume"):
        run(config)
    again = run(config.model_copy(update={"on_existing": "resume"}))
    assert again["digest"] == open_artifact(model_uri).digest
    changed = train_config(data, model_uri, max_steps=25, on_existing="resume")
    with pytest.raises(OutputExistsError, match=r"max_steps: got 25, .*: init_from\.uri, with"):
        run(changed)


def test_retention_keeps_the_last_and_the_best(model_uri: str) -> None:
    state = pointer_of(model_uri)
    assert state is not None
    assert [kept.step for kept in state.kept] == [10, 20]
    assert state.best is not None
    assert state.best.step == 20


def test_a_loss_that_is_not_finite_stops_the_run(
    data: str, bucket_uri: str, tmp_path: Path
) -> None:
    config = train_config(
        data,
        bucket_uri,
        optimizer={"learning_rate": 1e30, "max_grad_norm": None},
        lr_schedule={"kind": "constant", "warmup_steps": 0},
        checkpoint={"every_steps": 1},
        workers=HERE,
    )
    with pytest.raises(NonFiniteLossError, match=r"at step \d+; last good checkpoint") as caught:
        run(config)
    state = pointer_of(bucket_uri)
    assert state is not None
    bad = int(str(caught.value).split("at step ")[1].split(";")[0])
    assert state.step < bad
    for kept in state.kept:
        saved = open_artifact(f"{bucket_uri}/{kept.checkpoint}")
        weights = torch.load(
            saved.download(tmp_path / kept.checkpoint) / "state.ckpt", weights_only=True
        )
        assert all(torch.isfinite(w).all() for w in weights["state_dict"].values())


def test_early_stopping_ends_the_run_and_publishes_the_best(data: str, bucket_uri: str) -> None:
    config = train_config(
        data,
        bucket_uri,
        max_steps=1000,
        validation={"every_steps": 2, "early_stopping_patience": 2, "min_delta": 10.0},
        checkpoint={"every_steps": 2},
        objective={"label_dropout": 0.0},
        export="best",
        workers=HERE,
    )
    result = run(config)
    state = pointer_of(bucket_uri)
    assert state is not None
    assert state.step == 6  # the first validation is the best; two more did not improve on it
    assert state.best is not None
    assert result["step"] == state.best.step
    # Labels were never dropped, so the null class's embedding is noise.
    assert ModelInfo.of(open_artifact(bucket_uri)).null_class is None
