"""Norms by block are those of the whole, before clipping."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from darkroom.jobs.training.block_norms import block_norms, block_of


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("unet.down_blocks.0.attentions.1.to_q.lora_A.default.weight", "unet.down_blocks.0"),
        ("unet.conv_in.weight", "unet.conv_in"),
        ("unet.mid_block.resnets.0.conv1.bias", "unet.mid_block"),
        ("transformer.transformer_blocks.11.attn.to_q.weight", "transformer.transformer_blocks.11"),
        ("scale", "scale"),
    ],
)
def test_block_of_a_parameter(name: str, block: str) -> None:
    assert block_of(name) == block


@pytest.mark.parametrize("limit", [None, 0.5, 1e9])
def test_norms_are_those_before_clipping(limit: float | None) -> None:
    torch.manual_seed(0)
    names = ("net.a.weight", "net.a.bias", "net.blocks.0.weight", "net.blocks.1.weight")
    trained = {name: nn.Parameter(torch.randn(5)) for name in names}
    for parameter in list(trained.values())[:3]:
        parameter.grad = torch.randn(5)
    before = [each.grad.clone() for each in trained.values() if each.grad is not None]
    grad_norm = torch.nn.utils.clip_grad_norm_(
        trained.values(), math.inf if limit is None else limit
    )
    found = block_norms(trained, grad_norm=grad_norm, max_grad_norm=limit)
    assert found["grad_norm/net.a"] == pytest.approx(torch.cat(before[:2]).norm().item(), rel=1e-4)
    assert found["grad_norm/net.blocks.0"] == pytest.approx(before[2].norm().item(), rel=1e-4)
    assert found["grad_norm/net.blocks.1"] == 0.0
    weights = torch.cat([trained[name].detach() for name in names[:2]])
    assert found["param_norm/net.a"] == pytest.approx(weights.norm().item(), rel=1e-5)
