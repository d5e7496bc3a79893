"""A new run takes from a checkpoint what its config keeps, and refuses one that does not fit."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.helpers.ranks import CONFIG, Module, Scenario, batches

from darkroom.config import build_config
from darkroom.errors import ConfigError, DataError
from darkroom.jobs.artifacts import Kind
from darkroom.jobs.artifacts.checkpoint import CheckpointInfo
from darkroom.jobs.train.config import TrainConfig
from darkroom.jobs.train.job import UNetTraining
from darkroom.jobs.training.checkpoint import CheckpointPlace, publish_checkpoint
from darkroom.jobs.training.config import InitFromConfig
from darkroom.jobs.training.init_from import starting_checkpoint
from darkroom.jobs.training.starting_state import starting_state
from darkroom.storage import Artifact, open_output

STEPS = 3
COSINE = {"lr_schedule": {"kind": "cosine", "warmup_steps": 0}, "max_steps": 2000}


def module_of(**changes: Any) -> Module:
    torch.manual_seed(1)
    return Module(build_config(TrainConfig, {**CONFIG, **changes}), Scenario(), 0)


@pytest.fixture(scope="module")
def state() -> dict[str, Any]:
    return state_of(module_of())


def state_of(module: Module) -> dict[str, Any]:
    """What Lightning saves of three steps."""
    for batch in batches(Scenario(num_steps=STEPS), 0):
        module.training_step(batch, 0)
        module.update_ema()
    saved: dict[str, Any] = {
        "state_dict": copy.deepcopy(module.state_dict()),
        "optimizer_states": [copy.deepcopy(module.adamw.state_dict())],
        "lr_schedulers": [module.rate.state_dict()],
        "global_step": STEPS,
        "loops": {"fit_loop": {}},
        "callbacks": {"RunCallback": {"improvement": {}}},
    }
    module.plateau.scale = 0.25
    module.on_save_checkpoint(saved)
    return saved


def start(state: dict[str, Any], module: Module, *, step: int = STEPS, **values: Any) -> Any:
    init_from = build_config(InitFromConfig, {"uri": "run", **values})
    return starting_state(state, module, init_from, step=step)


def test_train_longer_keeps_all_but_what_the_config_decides(state: dict[str, Any]) -> None:
    rates = {"optimizer": {"learning_rate": 1e-3, "weight_decay": 0.5}}
    module = module_of(**rates, **COSINE)
    begun = start(state, module)
    assert begun["loops"] == state["loops"]
    assert begun["callbacks"] == {}
    assert begun["plateau"]["scale"] == 1
    for name, weight in begun["state_dict"].items():
        assert torch.equal(weight, state["state_dict"][name])
    (optimizer,), (schedule,) = begun["optimizer_states"], begun["lr_schedulers"]
    assert optimizer["state"] is state["optimizer_states"][0]["state"]
    (group,) = optimizer["param_groups"]
    assert group["weight_decay"] == 0.5
    assert group["initial_lr"] == 1e-3
    assert group["lr"] == pytest.approx(1e-3 * 0.5 * (1 + math.cos(math.pi * STEPS / 2000)))
    assert schedule["last_epoch"] == STEPS
    assert begun["ema"]["optimization_step"] == STEPS
    # What is made is what a module takes.
    module.on_load_checkpoint(begun)
    module.adamw.load_state_dict(optimizer)
    module.rate.load_state_dict(schedule)
    assert module.rate.get_last_lr() == [group["lr"]]
    module.training_step(batches(Scenario(num_steps=STEPS + 1), 0)[-1], 0)


def test_fresh_parts_begin_anew(state: dict[str, Any]) -> None:
    module = module_of()
    begun = start(
        state, module, step=0, steps="restart", weights="averaged", optimizer="fresh", ema="fresh"
    )
    assert "loops" not in begun
    assert begun["optimizer_states"][0]["state"] == {}
    assert begun["lr_schedulers"][0]["last_epoch"] == 0
    assert begun["ema"]["optimization_step"] == 0
    averaged = dict(zip(state["ema"]["names"], state["ema"]["shadow_params"], strict=True))
    for name, shadow in zip(begun["ema"]["names"], begun["ema"]["shadow_params"], strict=True):
        assert torch.equal(begun["state_dict"][name], averaged[name])
        assert torch.equal(shadow, averaged[name])
    assert any(not torch.equal(averaged[name], state["state_dict"][name]) for name in averaged)


def test_another_network_is_refused_by_its_first_tensor(state: dict[str, Any]) -> None:
    wider = module_of(unet={**CONFIG["unet"], "block_out_channels": [8, 16]})
    with pytest.raises(DataError, match=r"init_from.uri: .*\[\d.*there, and .*\[\d") as caught:
        start(state, wider)
    assert "\n" not in str(caught.value)


def test_a_tensor_of_another_type_is_refused_by_both(state: dict[str, Any]) -> None:
    halved = {name: each.half() for name, each in state["state_dict"].items()}
    with pytest.raises(DataError, match=r"is float16 \[.*\] there, and float32 \[.*\] in this run"):
        start({**state, "state_dict": halved}, module_of())


# The driver's side, before anything is written.


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("run")
    (folder / "state").mkdir()
    (folder / "state" / "state.ckpt").write_bytes(b"unread here")
    info = CheckpointInfo(step=100, epoch=1, seconds=1.0, validation_loss=None, finished=True)
    config = build_config(TrainConfig, {**CONFIG, "output": str(folder / "out")})
    place = CheckpointPlace.new(config.output, info.step)
    return publish_checkpoint(folder / "state", info, config, [], place)


def asking(uri: object, **changes: Any) -> TrainConfig:
    init_from = {"uri": str(uri), **changes.pop("init_from", {})}
    return build_config(
        TrainConfig, {**CONFIG, "max_steps": 2000, **changes, "init_from": init_from}
    )


def test_a_checkpoint_is_found_by_its_uri(checkpoint: Artifact) -> None:
    found = starting_checkpoint(asking(checkpoint.uri), UNetTraining.network_fields)
    assert found is not None
    assert found.digest == checkpoint.digest
    assert starting_checkpoint(build_config(TrainConfig, CONFIG)) is None


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"max_steps": 100, "checkpoint": {"every_steps": 50}, "lr_schedule": {"warmup_steps": 0}},
         r"max_steps: got 100, the run starts at step 100 of .*; raise it, or set init_from.steps"),
        ({"unet": {**CONFIG["unet"], "layers_per_block": 2}},
         "unet.layers_per_block: got 2, the run that init_from.uri names was trained with 1"),
        ({"objective": {"prediction_type": "v_prediction"}},
         "objective.prediction_type: got 'v_prediction'.*'epsilon'"),
    ],
)  # fmt: skip
def test_what_cannot_go_on_is_refused(
    checkpoint: Artifact, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        starting_checkpoint(asking(checkpoint.uri, **changes), UNetTraining.network_fields)


def test_a_restart_may_be_shorter_than_the_run_before(checkpoint: Artifact) -> None:
    config = asking(
        checkpoint.uri, max_steps=50, checkpoint={"every_steps": 50},
        init_from={"steps": "restart"},
    )  # fmt: skip
    assert starting_checkpoint(config, UNetTraining.network_fields) is not None


def test_what_is_no_run_is_refused(checkpoint: Artifact, tmp_path: Path) -> None:
    config = build_config(TrainConfig, {**CONFIG, "output": str(tmp_path / "model")})
    for name, parents, says in (
        ("none", [], "is a model without a checkpoint"),
        ("gone", [replace(checkpoint.as_parent("checkpoint"), digest="0" * 64)], "is gone"),
    ):  # fmt: skip
        uri = str(tmp_path / name)
        with open_output(uri, kind=Kind.MODEL, config=config, parents=parents) as output:
            output.publish([output.writer.write_bytes("model/x", b"x")])
        with pytest.raises(DataError, match=says):
            starting_checkpoint(asking(uri))


def test_what_prodigy_has_found_is_kept_and_another_optimizer_keeps_nothing(
    state: dict[str, Any],
) -> None:
    prodigy = {"optimizer": {"name": "prodigy", "learning_rate": 1.0}}
    found = state_of(module_of(**prodigy))
    (before,) = found["optimizer_states"][0]["param_groups"]
    before["d"] = 1e-3  # more than three steps find
    (kept,) = start(found, module_of(**prodigy))["optimizer_states"][0]["param_groups"]
    assert (kept["d"], kept["k"]) == (1e-3, STEPS)
    fresh = start(found, module_of(**prodigy), optimizer="fresh")["optimizer_states"][0]
    assert (fresh["param_groups"][0]["d"], fresh["param_groups"][0]["k"]) == (kept["d0"], 0)
    for theirs, ours in ((state, module_of(**prodigy)), (found, module_of())):
        with pytest.raises(ConfigError, match="was trained by another optimizer; set it to fresh"):
            start(theirs, ours)
