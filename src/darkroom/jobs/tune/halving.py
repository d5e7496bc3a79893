"""Rungs of steps at which a run is compared with those that came so far: asynchronous halving.

Jamieson & Talwalkar 2016, Li et al. 2020 (ASHA), as Optuna's `SuccessiveHalvingPruner` has it. The
rungs are fixed when the study is made; the pruner's own guess would differ from process to process.
"""

from __future__ import annotations

from optuna.pruners import BasePruner, NopPruner, SuccessiveHalvingPruner

from darkroom.errors import ConfigError
from darkroom.jobs.training.config import TrainingConfig
from darkroom.jobs.tune.config import HalvingConfig


def rungs_of(halving: HalvingConfig | None, run: TrainingConfig) -> tuple[int, ...]:
    """Steps of all rungs below the last step; none without halving.

    Errors: ConfigError for a first rung that no validation comes before.
    """
    if halving is None:
        return ()
    every = run.validation.every_steps
    first = halving.first_rung or max(every, run.max_steps // 8)
    if every > first:
        raise ConfigError(
            "halving.first_rung", first, f"is before the first validation, at step {every}",
            "raise it, or lower run.validation.every_steps",
        )  # fmt: skip
    if first >= run.max_steps:
        raise ConfigError(
            "halving.first_rung", first, f"leaves nothing of max_steps {run.max_steps}", "lower it"
        )
    rungs = [first]
    while (following := rungs[-1] * halving.reduction_factor) < run.max_steps:
        rungs.append(following)
    return tuple(rungs)


def pruner_of(rungs: tuple[int, ...], halving: HalvingConfig | None) -> BasePruner:
    """Optuna's pruner for these rungs."""
    if halving is None or not rungs:
        return NopPruner()
    return SuccessiveHalvingPruner(
        min_resource=rungs[0], reduction_factor=halving.reduction_factor, min_early_stopping_rate=0
    )
