"""Proof: FSDP2 over real Ray ends in the bytes of another run after memory that did not suffice.

Stops, kills and resumes: `test_sharded_proof.py`, and `tests/runs/test_sharding.py` without Ray.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.helpers.captioned_data import publish_captioned
from tests.helpers.full_memory import FullMemory
from tests.helpers.tiny_families import save_tiny

from darkroom.config import build_config
from darkroom.jobs.artifacts.model import FinetunedInfo, OutOfMemory
from darkroom.jobs.finetune.config import FinetuneConfig
from darkroom.jobs.finetune.job import run
from darkroom.jobs.training.job import run_training
from darkroom.models.find import find_model
from darkroom.storage import Artifact, open_artifact

WEIGHTS = "model/unet/diffusion_pytorch_model.safetensors"
STEPS = 12

pytestmark = [pytest.mark.usefixtures("ray_local"), pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("sharded")
    publish_captioned(folder / "data")
    return {"base": str(save_tiny("sd", folder / "sd")), "input": str(folder / "data")}


def config(places: dict[str, str], output: str, **changes: Any) -> FinetuneConfig:
    values: dict[str, Any] = {
        **places, "output": output, "max_steps": STEPS, "batch_size": 7, "method": "full",
        "lr_schedule": {"warmup_steps": 2}, "ema": {"decay": 0.5},
        "validation": {"every_steps": 6, "num_images": 8},
        "checkpoint": {"every_steps": 4, "asynchronous": True}, "log_every_steps": 1,
        "workers": {"num_workers": 2, "sharding": "fsdp2"}, "on_existing": "resume",
    }  # fmt: skip
    return build_config(FinetuneConfig, {**values, **changes})


def losses(model: Artifact) -> list[float]:
    rows = model.read_table("metrics.parquet").to_pylist()
    return [row["loss"] for row in rows if row["loss"] is not None]


def test_no_memory_and_a_restart_end_in_the_bytes_of_an_undisturbed_run(
    places: dict[str, str], bucket_uri: str, tmp_path: Path
) -> None:
    small = {"optimizer": {"accumulation_steps": 2}}
    run(config(places, f"{bucket_uri}/undisturbed", **small))
    undisturbed = open_artifact(f"{bucket_uri}/undisturbed")

    disturbed = config(places, f"{bucket_uri}/disturbed")
    base = find_model(places["base"], field="base")
    run_training(FullMemory(disturbed, base))
    resumed = open_artifact(disturbed.output)
    assert resumed.entry(WEIGHTS).sha256 == undisturbed.entry(WEIGHTS).sha256
    assert losses(resumed) == losses(undisturbed)
    event = OutOfMemory(step=0, rank=1, micro_batch_size=4, new_micro_batch_size=2)
    assert FinetunedInfo.of(resumed).out_of_memory == (event,)

    (parent,) = (each for each in resumed.manifest.parents if each.role == "checkpoint")
    checkpoint = open_artifact(parent.uri).download(tmp_path / "checkpoint")
    assert len(list((checkpoint / "shards").iterdir())) == 2
    state = torch.load(checkpoint / "state.ckpt", weights_only=True)
    assert not any(torch.is_tensor(each) for each in state["state_dict"].values())
