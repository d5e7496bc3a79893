"""Another verb trains, resumes and is published through the same room, which nothing changed for.

`tests/helpers/tiny_finetune.py` brings another module, two parameter groups and captions.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.helpers.tiny_artifacts import publish_digits
from tests.helpers.tiny_finetune import CaptionModule, Finetune, FinetuneInfo
from tests.helpers.training import WAIT_SECONDS, pointer_of

from darkroom.config import build_config
from darkroom.errors import ConfigError, InterruptedBySignal
from darkroom.jobs.training.config import TrainingConfig
from darkroom.jobs.training.dataset import TrainingData
from darkroom.jobs.training.job import run_training
from darkroom.jobs.training.trainable import TrainingResult
from darkroom.storage import Artifact, open_artifact

STEPS = 60
STOP_AT = 15
ADAPTER = "model/adapter.safetensors"
DRIVER = """
import json, sys
from darkroom.config import build_config
from darkroom.jobs.training.config import TrainingConfig
from darkroom.jobs.training.job import run_training
from tests.helpers.tiny_finetune import Finetune
run_training(Finetune(build_config(TrainingConfig, json.loads(sys.argv[1]))))
"""


@pytest.fixture(scope="module")
def data(s3_module_uri: str) -> str:
    uri = f"{s3_module_uri}/captioned"
    publish_digits(uri, captions=True)
    return uri


def config(data: str, output: str, *, num_workers: int = 0) -> TrainingConfig:
    values: dict[str, Any] = {
        "input": data,
        "output": output,
        "max_steps": STEPS,
        "batch_size": 32,
        "lr_schedule": {"warmup_steps": 5},
        "ema": {"decay": 0.9},
        "validation": {"every_steps": STEPS // 2, "num_images": 64},
        "checkpoint": {"every_steps": 20, "asynchronous": False},
        "log_every_steps": 5,
        "workers": {"num_workers": num_workers},
    }
    return build_config(TrainingConfig, values)


@pytest.mark.timeout(1800)
def test_a_second_verb_trains_resumes_and_is_published(
    ray_local: str, data: str, bucket_uri: str, tmp_path: Path
) -> None:
    quiet = f"{bucket_uri}/undisturbed"
    rows: list[Any] = []
    run_training(Finetune(config(data, quiet)), on_row=rows.append)
    undisturbed = open_artifact(quiet)
    assert [row["step"] for row in rows if row["loss"]][-1] == STEPS
    assert sum(row["validation_loss"] is not None for row in rows) == 3
    log = undisturbed.read_table("metrics.parquet").to_pydict()
    assert log["learning_rate"][-1] == pytest.approx(1e-2)
    assert log["learning_rate/text"][-1] == pytest.approx(1e-3)
    first, *_, last = (loss for loss in log["validation_loss"] if loss is not None)
    assert last < first
    assert FinetuneInfo.of(undisturbed).step == STEPS

    stopped = f"{bucket_uri}/stopped"
    with pytest.raises(InterruptedBySignal):  # the caller's own reason, as a study's
        run_training(
            Finetune(config(data, stopped)),
            on_row=lambda row: "pruned" if row["step"] == STOP_AT else None,
        )
    state = pointer_of(stopped)
    assert state is not None
    assert state.step == STOP_AT, "without workers, a stop holds at once"
    again = subprocess.run(  # another driver
        [sys.executable, "-c", DRIVER, json.dumps(config(data, stopped, num_workers=1).to_dict())],
        timeout=WAIT_SECONDS, capture_output=True, text=True, check=False,
        env={**os.environ, "RAY_ADDRESS": ray_local, "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"},
    )  # fmt: skip
    assert again.returncode == 0, again.stderr[-4000:]
    model = open_artifact(stopped)
    assert model.entry(ADAPTER).sha256 == undisturbed.entry(ADAPTER).sha256
    assert_what_is_kept(undisturbed, tmp_path)


class ExportsAtSecond(Finetune):
    """Its export breaks off while the marker lies there."""

    def __init__(self, config: TrainingConfig, marker: Path) -> None:
        super().__init__(config)
        self.marker = marker

    def export(self, data: TrainingData, result: TrainingResult, folder: Path) -> FinetuneInfo:
        if self.marker.exists():
            self.marker.unlink()
            raise ConfigError("export", None, "breaks off", "run it again")
        return super().export(data, result, folder)


@pytest.mark.usefixtures("ray_local")
@pytest.mark.timeout(600)
def test_what_is_trained_is_exported_by_the_next_driver(
    data: str, bucket_uri: str, tmp_path: Path
) -> None:
    changes = {"max_steps": 8, "checkpoint": {"every_steps": 8}, "validation": {"every_steps": 8}}
    settings = {**config(data, f"{bucket_uri}/cut-off").to_dict(), **changes}
    run = build_config(TrainingConfig, settings)
    (marker := tmp_path / "marker").touch()
    with pytest.raises(ConfigError, match="breaks off"):
        run_training(ExportsAtSecond(run, marker))
    rows: list[Any] = []
    by_a_task = build_config(TrainingConfig, {**settings, "workers": {"num_workers": 1}})
    marker.touch()
    with pytest.raises(ConfigError, match="breaks off"):
        run_training(ExportsAtSecond(by_a_task, marker), on_row=rows.append)
    run_training(ExportsAtSecond(by_a_task, marker), on_row=rows.append)
    assert not rows
    assert open_artifact(run.output).entry(ADAPTER).content


def assert_what_is_kept(model: Artifact, folder: Path) -> None:
    """Checkpoint and model hold what is trained; the frozen base is in neither."""
    trained = {"adapter.1.weight", "text.weight"}
    weights = load_file(model.download(folder / "model") / ADAPTER)
    assert set(weights) == trained
    (checkpoint,) = (each for each in model.manifest.parents if each.role == "checkpoint")
    state = torch.load(
        open_artifact(checkpoint.uri).download(folder / "checkpoint") / "state.ckpt",
        weights_only=True,
    )
    assert set(state["state_dict"]) == set(state["ema"]["names"]) == trained
    assert not torch.equal(weights["text.weight"], state["state_dict"]["text.weight"])


def test_what_no_group_names_is_frozen(data: str) -> None:
    module = CaptionModule(config(data, "unused"), 64)
    module.prepare()
    assert not module.base.weight.requires_grad
    assert [group.name for group in module.groups] == ["adapter", "text"]
    with module.averaged():
        assert not module.adapter.training
    assert module.adapter.training
