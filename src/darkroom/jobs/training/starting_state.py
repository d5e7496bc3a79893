"""The state that a new run begins with: another run's checkpoint, as far as the config keeps it.

The weights, and as told the optimizer's moments, the average and the count of steps. Rates, betas,
decay and schedule are always the new config's; early stopping, plateau and what memory allowed
begin anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from darkroom.errors import ConfigError, DataError
from darkroom.jobs.training import optimizer_memory
from darkroom.jobs.training.checkpoint_state import averaged_weights
from darkroom.jobs.training.config import InitFromConfig
from darkroom.jobs.training.init_from import FIELD
from darkroom.jobs.training.module import TrainedModule
from darkroom.jobs.training.optimizers import adapted


def starting_state(
    state: dict[str, Any], module: TrainedModule, init_from: InitFromConfig, *, step: int
) -> dict[str, Any]:
    """A checkpoint's state as the first of a new run, in the form that Lightning restores.

    step: where the run begins to count. module: prepared, with the network that is trained.
    Errors: DataError when the checkpoint is another network's, ConfigError when the optimizer's
    state does not fit what is trained.
    """
    weights = state["state_dict"]
    averaged = averaged_weights(state)
    _require_same_network(weights, module, init_from.uri)
    if init_from.weights == "averaged":
        weights = {**weights, **averaged}
    keeps = init_from.optimizer == "keep"
    kept = {key: state[key] for key in state if key != "loops" or init_from.steps == "continue"}
    return {
        **kept,
        **_optimization(state, module, init_from, step=step),
        optimizer_memory.KEY: state.get(optimizer_memory.KEY, []) if keeps else [],
        "state_dict": weights,
        "ema": _average(state["ema"], averaged, weights, module, init_from),
        "callbacks": {},
        "plateau": vars(module.plateau).copy(),
        "micro_batches": module.micro_batches.state(),
        "loss_scale": module.loss_scale.state(),
    }


def _optimization(
    state: Mapping[str, Any], module: TrainedModule, init_from: InitFromConfig, *, step: int
) -> dict[str, Any]:
    """Optimizer and schedule as the config builds them, at `step`, with the moments if kept."""
    built: Any = module.configure_optimizers()
    optimizer, schedule = built["optimizer"], built["lr_scheduler"]["scheduler"]
    (before,) = state["optimizer_states"]
    groups = optimizer.state_dict()["param_groups"]
    keeps = init_from.optimizer == "keep"
    if keeps and [len(each["params"]) for each in before["param_groups"]] != [
        len(each["params"]) for each in groups
    ]:
        raise ConfigError(
            "init_from.optimizer",
            "keep",
            f"{init_from.uri} was trained on other parameters",
            "set it to fresh",
        )
    if (
        keeps
        and before["param_groups"][0].keys()
        != groups[0].keys() | adapted(before["param_groups"][0]).keys()
    ):
        raise ConfigError(
            "init_from.optimizer", "keep", f"{init_from.uri} was trained by another optimizer",
            "set it to fresh",
        )  # fmt: skip
    peaks = zip(schedule.base_lrs, schedule.lr_lambdas, strict=True)
    rates = [peak * scale(step) for peak, scale in peaks]
    for group, rate in zip(groups, rates, strict=True):
        group["lr"] = rate
    if keeps:
        for group, old in zip(groups, before["param_groups"], strict=True):
            group.update(adapted(old))
    at_step = {"last_epoch": step, "_step_count": step + 1, "_last_lr": rates}
    return {
        "optimizer_states": [{"state": before["state"] if keeps else {}, "param_groups": groups}],
        "lr_schedulers": [{**schedule.state_dict(), **at_step}],
    }


def _average(
    before: Mapping[str, Any],
    averaged: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    module: TrainedModule,
    init_from: InitFromConfig,
) -> dict[str, Any]:
    fresh = {**module.ema.state_dict(), "names": list(module.trained)}
    if init_from.ema == "keep":
        shadow_params = [averaged[name] for name in module.trained]
        count = before["optimization_step"]
        return {**fresh, "optimization_step": count, "shadow_params": shadow_params}
    return {**fresh, "shadow_params": [weights[name].clone() for name in module.trained]}


def _require_same_network(weights: Mapping[str, Tensor], module: TrainedModule, uri: str) -> None:
    """Errors: DataError naming the first tensor that is missing, too much, or of another shape."""
    wanted = {name: _described(each) for name, each in module.state_dict().items()}
    frozen = set(module.frozen_names())
    found = {name: _described(each) for name, each in weights.items()}
    for name in sorted((wanted.keys() - frozen) | found.keys()):
        if wanted.get(name) != found.get(name):
            raise DataError(
                FIELD, uri,
                f"{name} is {found.get(name, 'not')} there, and "
                f"{wanted.get(name, 'not')} in this run's network",
                "start from a run of the same network",
            )  # fmt: skip


def _described(tensor: Tensor) -> str:
    """Its type and shape."""
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
