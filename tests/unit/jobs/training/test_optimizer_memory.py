"""A checkpoint that has lost some of the optimizer's state is refused by the tensor's name."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from tests.helpers.ranks import CONFIG, Module, Scenario, batches

from darkroom.config import build_config
from darkroom.errors import DataError
from darkroom.jobs.train.config import TrainConfig
from darkroom.jobs.training.config import InitFromConfig
from darkroom.jobs.training.optimizer_memory import remembered
from darkroom.jobs.training.starting_state import starting_state


def module_of() -> Module:
    torch.manual_seed(1)
    return Module(build_config(TrainConfig, CONFIG), Scenario(), 0)


@pytest.fixture(scope="module")
def state() -> dict[str, Any]:
    """What Lightning saves of one step."""
    module = module_of()
    module.training_step(batches(Scenario(num_steps=1), 0)[0], 0)
    saved: dict[str, Any] = {
        "global_step": 1,
        "state_dict": dict(module.state_dict()),
        "optimizer_states": [module.adamw.state_dict()],
        "lr_schedulers": [module.rate.state_dict()],
        "loops": {},
    }
    module.on_save_checkpoint(saved)
    return saved


def without_one(state: dict[str, Any], place: int) -> dict[str, Any]:
    damaged = copy.deepcopy(state)
    del damaged["optimizer_states"][0]["state"][place]
    return damaged


def test_a_tensor_that_has_had_no_gradient_has_no_state() -> None:
    one, other = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    optimizer = torch.optim.AdamW([one, other])
    assert remembered(["one", "other"], optimizer.state_dict()) == []
    other.grad = torch.ones(2)
    optimizer.step()
    assert remembered(["one", "other"], optimizer.state_dict()) == ["other"]


def test_what_is_whole_is_taken(state: dict[str, Any]) -> None:
    module = module_of()
    assert state["remembered"] == list(module.trained)
    module.on_load_checkpoint(copy.deepcopy(state))
    older = copy.deepcopy(state)
    del older["remembered"]  # of a build that did not keep it
    module.on_load_checkpoint(older)


def test_state_that_is_missing_is_named(state: dict[str, Any]) -> None:
    module = module_of()
    name = list(module.trained)[3]
    with pytest.raises(DataError) as caught:
        module.on_load_checkpoint(without_one(state, 3))
    line = str(caught.value)
    assert line.startswith("checkpoint: got 'step 1', has no optimizer state of " + name)
    assert "\n" not in line
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("optimizer", ["keep", "fresh"])
def test_a_new_run_needs_it_where_it_keeps_it(state: dict[str, Any], optimizer: str) -> None:
    init_from = build_config(InitFromConfig, {"uri": "run", "optimizer": optimizer})
    module = module_of()
    begun = starting_state(without_one(state, 0), module, init_from, step=1)
    if optimizer == "fresh":
        module.on_load_checkpoint(begun)
        return
    with pytest.raises(DataError, match="has no optimizer state of network"):
        module.on_load_checkpoint(begun)
