"""The loss scale: overflowing gradients are dropped, and no step of theirs changes anything."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from darkroom.config import build_config
from darkroom.errors import ConfigError
from darkroom.jobs.training.config import TrainingConfig
from darkroom.jobs.training.loss_scale import LossScale


def layer_with_gradients(value: float) -> nn.Linear:
    layer = nn.Linear(2, 2)
    for parameter in layer.parameters():
        parameter.grad = torch.full_like(parameter, value)
    return layer


def gradients(layer: nn.Linear) -> list[float | None]:
    return [None if each.grad is None else float(each.grad.max()) for each in layer.parameters()]


def test_gradients_are_those_of_the_loss() -> None:
    scale = LossScale.for_precision("float16")
    layer = layer_with_gradients(2.0**16 * 3)
    assert scale.unscale(list(layer.parameters()))
    assert gradients(layer) == [3.0, 3.0]
    assert scale.columns() == {"loss_scale": 2.0**16, "skipped_steps": 0}


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_an_overflow_leaves_weights_and_moments_alone_and_halves_the_scale(bad: float) -> None:
    scale = LossScale.for_precision("float16")
    layer = layer_with_gradients(1.0)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1)
    optimizer.step()
    before = {name: each.clone() for name, each in layer.state_dict().items()}
    moments = [each["exp_avg"].clone() for each in optimizer.state.values()]
    assert layer.bias.grad is not None
    layer.bias.grad[0] = bad
    assert not scale.unscale(list(layer.parameters()))
    optimizer.step()
    assert all(torch.equal(before[name], each) for name, each in layer.state_dict().items())
    after = [each["exp_avg"] for each in optimizer.state.values()]
    assert all(map(torch.equal, moments, after))
    assert (scale.value, scale.skipped) == (2.0**15, 1)


def test_the_scale_grows_after_2000_good_steps() -> None:
    scale = LossScale.for_precision("float16")
    layer = layer_with_gradients(0.0)
    for _ in range(1999):
        assert scale.unscale(list(layer.parameters()))
    assert scale.value == 2.0**16
    scale.unscale(list(layer.parameters()))
    assert (scale.value, scale.good_steps) == (2.0**17, 0)


def test_gradients_that_no_scale_helps_stay_to_be_seen() -> None:
    """So a loss that is not finite ends the run, as in the other precisions."""
    scale = LossScale.for_precision("float16")
    steps = 0
    while not scale.unscale(list(layer_with_gradients(float("nan")).parameters())):
        steps += 1
    assert steps == 30


def test_other_precisions_are_left_alone() -> None:
    scale = LossScale.for_precision("bfloat16")
    layer = layer_with_gradients(float("inf"))
    assert scale.unscale(list(layer.parameters()))
    assert gradients(layer) == [float("inf")] * 2
    assert scale.columns() == {}


def test_sharded_networks_are_refused() -> None:
    values = {
        "input": "/data", "output": "/output", "compute": {"precision": "float16"},
        "workers": {"sharding": "fsdp2"},
    }  # fmt: skip
    with pytest.raises(ConfigError, match="take bfloat16 or float32"):
        build_config(TrainingConfig, values)
