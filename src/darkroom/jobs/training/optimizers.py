"""The optimizers that a run may take, each over named groups of parameters.

AdamW (Loshchilov & Hutter 2019), fused on a GPU; AdamW with moments of 8 bits (Dettmers et al.
2022), bitsandbytes's, on a GPU only; Prodigy (Mishchenko & Defazio 2023), prodigyopt's, which finds
its own step size: `learning_rate` then scales it, and is 1 as a rule.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from darkroom.jobs.training.config import OptimizerConfig
from darkroom.jobs.training.optimizer_checks import check_rates

if TYPE_CHECKING:
    from darkroom.jobs.training.module import ParameterGroup

_ADAPTED = ("d", "d_max", "d_numerator", "d_denom", "d_hat", "k")
"""What Prodigy keeps in its groups of what it has found."""


def build_optimizer(
    config: OptimizerConfig, groups: Sequence[ParameterGroup]
) -> torch.optim.Optimizer:
    """The optimizer of these groups. Errors: as `check_rates`."""
    check_rates(config, [group.learning_rate for group in groups])
    given: list[dict[str, Any]] = [
        {"name": group.name, "params": group.parameters, "lr": group.learning_rate}
        for group in groups
    ]
    common: dict[str, Any] = {
        "betas": config.betas, "eps": config.eps, "weight_decay": config.weight_decay
    }  # fmt: skip
    match config.name:
        case "adamw":
            return torch.optim.AdamW(given, fused=_on_gpu(groups), **common)
        case "adamw_8bit":
            from bitsandbytes.optim import AdamW8bit

            eight: torch.optim.Optimizer = AdamW8bit(given, **common)
            return eight
        case "prodigy":
            from prodigyopt import Prodigy

            with contextlib.redirect_stdout(io.StringIO()):  # it prints that it decays weights
                prodigy: torch.optim.Optimizer = Prodigy(
                    given, use_bias_correction=True, safeguard_warmup=True, **common
                )
            return prodigy


def moments_bytes(config: OptimizerConfig, parameters: Sequence[torch.Tensor]) -> int:
    """What the optimizer takes from a GPU's memory in its first step."""
    sizes = sum(each.numel() * each.element_size() for each in parameters)
    match config.name:
        case "adamw":
            return 2 * sizes
        case "adamw_8bit":
            return sizes // 2
        case "prodigy":
            return 4 * sizes


def for_this_device(state: dict[str, Any], *, on_gpu: bool) -> None:
    """Let a checkpoint's AdamW be fused where it goes on, and not where it was written."""
    for group in state["param_groups"]:
        if "fused" in group:
            group["fused"] = on_gpu


def adapted(before: dict[str, Any]) -> dict[str, Any]:
    """What a group of a checkpoint's optimizer has found by itself, for one that starts from it."""
    return {name: before[name] for name in _ADAPTED if name in before}


def effective_rate(group: dict[str, Any]) -> float:
    """The learning rate that a group steps with; Prodigy's is times what it has found."""
    return float(group["lr"] * group.get("d", 1.0))


def _on_gpu(groups: Sequence[ParameterGroup]) -> bool:
    return all(each.is_cuda for group in groups for each in group.parameters)
