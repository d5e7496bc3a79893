"""Optimizers: what each needs, that it learns, and that its state goes on where it was."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from darkroom.config import build_config
from darkroom.errors import ConfigError
from darkroom.jobs.training.config import OptimizerConfig, TrainingConfig
from darkroom.jobs.training.module import ParameterGroup
from darkroom.jobs.training.optimizer_checks import check_optimizer, remarks
from darkroom.jobs.training.optimizers import build_optimizer, effective_rate, for_this_device


def training(**optimizer: Any) -> TrainingConfig:
    values = {"input": "/data", "output": "/output", "optimizer": optimizer}
    return build_config(TrainingConfig, values)


def made(name: str, rate: float, seed: int = 0) -> tuple[nn.Linear, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    layer = nn.Linear(4, 2)
    config = build_config(OptimizerConfig, {"name": name, "learning_rate": rate})
    groups = [
        ParameterGroup(name, [parameter], rate) for name, parameter in layer.named_parameters()
    ]  # fmt: skip
    return layer, build_optimizer(config, groups)


def step(layer: nn.Linear, optimizer: torch.optim.Optimizer, number: int) -> float:
    x = torch.randn(16, 4, generator=torch.Generator().manual_seed(number))
    loss = (layer(x) - x[:, :2]).square().mean()
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    optimizer.step()
    return float(loss.item())


@pytest.mark.parametrize(("name", "rate"), [("adamw", 0.05), ("prodigy", 1.0)])
def test_learns_and_goes_on_from_its_state(
    name: str, rate: float, capfd: pytest.CaptureFixture[str]
) -> None:
    layer, optimizer = made(name, rate)
    losses = [step(layer, optimizer, number) for number in range(200)]
    assert losses[-1] < 0.5 * losses[0]
    again, resumed = made(name, rate, seed=1)
    again.load_state_dict(layer.state_dict())
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for number in range(200, 205):
        step(layer, optimizer, number)
        step(again, resumed, number)
    assert torch.equal(layer.weight, again.weight)
    assert torch.equal(layer.bias, again.bias)
    assert capfd.readouterr().out == ""


def test_prodigys_rate_is_what_it_has_found() -> None:
    layer, optimizer = made("prodigy", 1.0)
    (first, _) = optimizer.param_groups
    before = effective_rate(first)
    assert before == pytest.approx(1e-6)
    for number in range(60):
        step(layer, optimizer, number)
    assert effective_rate(first) == first["d"] > 10 * before
    assert effective_rate(made("adamw", 0.05)[1].param_groups[0]) == 0.05


def test_prodigy_with_two_rates_is_refused_and_a_small_one_is_remarked() -> None:
    layer = nn.Linear(2, 2)
    groups = [
        ParameterGroup("a", list(layer.parameters())[:1], 1.0),
        ParameterGroup("b", list(layer.parameters())[1:], 0.5),
    ]
    config = build_config(OptimizerConfig, {"name": "prodigy", "learning_rate": 1.0})
    with pytest.raises(ConfigError, match="has one step size for all groups"):
        build_optimizer(config, groups)
    assert list(remarks(config)) == []
    (remark,) = remarks(training(name="prodigy").optimizer)
    assert "1 is usual" in remark


def test_adamw_8bit_is_refused_in_one_line_without_bitsandbytes() -> None:
    check_optimizer(training())
    check_optimizer(training(name="prodigy"))
    with pytest.raises(ConfigError, match=r"needs bitsandbytes, which is not installed") as caught:
        check_optimizer(training(name="adamw_8bit"))
    assert "\n" not in str(caught.value)


def test_a_gpus_checkpoint_goes_on_without_one() -> None:
    layer, optimizer = made("adamw", 0.05)
    step(layer, optimizer, 0)
    state = optimizer.state_dict()
    for group in state["param_groups"]:
        group["fused"] = True
    for_this_device(state, on_gpu=False)
    optimizer.load_state_dict(state)
    assert [group["fused"] for group in optimizer.param_groups] == [False, False]
