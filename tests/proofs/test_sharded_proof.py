"""Proof: FSDP2 on two CPU workers ends where it should, whatever happens on the way.

Killed with all of Ray and resumed: the bytes of a run that was not, by LoRA with text encoder and
in full. Beside a run whose workers hold everything: losses within 1e-5. Out of memory in the
middle: losses within 1e-6 of a run with the small micro-batch. `build/proofs/` keeps the figures.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.helpers.captioned_data import publish_captioned
from tests.helpers.full_memory import FullMemory
from tests.helpers.proof import keep
from tests.helpers.tiny_families import save_tiny
from tests.helpers.training import running, wait_for_step

from darkroom.config import build_config
from darkroom.errors import InterruptedBySignal
from darkroom.jobs.artifacts.model import FinetunedInfo
from darkroom.jobs.finetune.config import FinetuneConfig
from darkroom.jobs.training.job import run_training
from darkroom.models.find import find_model
from darkroom.storage import Artifact, open_artifact

STEPS = 40
LORA: dict[str, Any] = {
    "method": "lora", "lora": {"rank": 4, "targets": "all"}, "text_encoder": {"learning_rate": 1e-3}
}  # fmt: skip
FULL: dict[str, Any] = {"method": "full"}
SMALL: dict[str, Any] = {"optimizer": {"accumulation_steps": 2}}

pytestmark = pytest.mark.timeout(7200)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sharded")
    publish_captioned(root / "data")
    save_tiny("sd", root / "sd")
    return root


def values(root: Path, name: str, **changes: Any) -> dict[str, Any]:
    return {
        "base": str(root / "sd"), "input": str(root / "data"), "output": str(root / name),
        "max_steps": STEPS, "batch_size": 7, "lr_schedule": {"warmup_steps": 2},
        "ema": {"decay": 0.5}, "validation": {"every_steps": 20, "num_images": 8},
        "checkpoint": {"every_steps": 5}, "log_every_steps": 1, "on_existing": "resume",
        "workers": {"num_workers": 2, "sharding": "fsdp2"}, **changes,
    }  # fmt: skip


def finished(root: Path, name: str, **changes: Any) -> Artifact:
    wanted = values(root, name, **changes)
    with running("finetune", wanted, root / "logs") as run:
        assert run.wait() == 0, run.log.read_text()[-4000:]
    return open_artifact(wanted["output"])


def losses(model: Artifact) -> list[float]:
    return list(model.read_table("metrics.parquet")["loss"].drop_null().to_pylist())


def farthest(one: Artifact, other: Artifact) -> float:
    pairs = zip(losses(one), losses(other), strict=True)
    return max(abs(a / b - 1) for a, b in pairs)


def weights(model: Artifact) -> list[str]:
    return [each.sha256 for each in model.entries("model/") if each.name.endswith(".safetensors")]


@pytest.mark.parametrize("changes", [LORA, FULL], ids=["lora", "full"])
def test_killed_and_resumed_and_beside_whole_networks(root: Path, changes: dict[str, Any]) -> None:
    name = changes["method"]
    quiet = finished(root, f"quiet-{name}", **changes)
    wanted = values(root, f"killed-{name}", **changes)
    with running("finetune", wanted, root / "logs") as run:
        step = wait_for_step(run, wanted["output"], 10)
        run.kill_everything()
    assert step < STEPS
    killed = finished(root, f"killed-{name}", **changes)
    assert weights(killed) == weights(quiet)
    replicated = finished(root, f"replicated-{name}", **changes, workers={"num_workers": 2})
    apart = farthest(quiet, replicated)
    keep(f"sharded-{name}", [{"run": name, "losses apart from replicated": apart}])
    assert apart <= 1e-5


def test_out_of_memory_in_the_middle(root: Path) -> None:
    small = finished(root, "small", **FULL, **SMALL)
    config = build_config(FinetuneConfig, values(root, "full-memory", **FULL))
    trainable = FullMemory(config, find_model(str(root / "sd"), field="base"))
    trainable.first_step = 17
    with pytest.raises(InterruptedBySignal):
        run_training(trainable, on_row=lambda row: "enough" if row["step"] >= 20 else None)
    run_training(trainable)
    recovered = open_artifact(config.output)
    (event,) = FinetunedInfo.of(recovered).out_of_memory
    assert (event.step, event.rank, event.new_micro_batch_size) == (17, 1, 2)
    apart = farthest(recovered, small)
    keep("sharded-memory", [{"run": "out of memory at step 17", "losses apart": apart}])
    assert apart <= 1e-6
