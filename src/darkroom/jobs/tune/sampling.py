"""Suggesting the values of a trial: by Optuna's TPE, or the next point of a grid.

A sampler is made anew for every trial and its seed is folded with the trial's number, so a study
that is gone on with suggests what the undisturbed one would have: an Optuna sampler that is kept
would begin its random numbers again. The values stand in Optuna as it wants them (a choice is a
number or a text, a list is its JSON); `values_of` gives them back as the config takes them.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial

from darkroom.jobs.seeding import rank_key
from darkroom.jobs.tune.axes import AnyAxis, ChoiceAxis, IntAxis
from darkroom.jobs.tune.config import BayesSearch
from darkroom.jobs.tune.space import in_order, is_active


def values_of(space: Mapping[str, AnyAxis], params: Mapping[str, Any]) -> dict[str, Any]:
    """A trial's parameters as values of config fields."""
    return {
        name: json.loads(value) if isinstance(space[name], ChoiceAxis) else value
        for name, value in params.items()
    }


def sampler_for(search: BayesSearch, *, seed: int, number: int) -> BaseSampler:
    """The sampler of one trial."""
    with warnings.catch_warnings():
        # `group` is marked as experimental since 2.8; it is what conditional axes need.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return TPESampler(
            seed=int.from_bytes(rank_key(seed, "trial", str(number))[:4]),
            n_startup_trials=search.num_random,
            group=True,
            constant_liar=True,
        )


def suggest(
    trial: optuna.Trial, space: Mapping[str, AnyAxis], run: Mapping[str, Any]
) -> dict[str, Any]:
    """Ask for every active axis, in their order; the values as the config takes them."""
    tried: dict[str, Any] = {}
    for name in in_order(space):
        axis = space[name]
        if is_active(axis, tried, run):
            tried |= values_of(space, {name: _asked(trial, name, axis)})
    return tried


def _asked(trial: optuna.Trial, name: str, axis: AnyAxis) -> Any:
    if isinstance(axis, ChoiceAxis):
        return trial.suggest_categorical(name, _texts(axis))
    if isinstance(axis, IntAxis):
        return trial.suggest_int(name, axis.low, axis.high, step=axis.step, log=axis.log)
    return trial.suggest_float(name, axis.low, axis.high, log=axis.log)


def _texts(axis: ChoiceAxis) -> list[str]:
    return [json.dumps(value) for value in axis.values]


class PointSampler(BaseSampler):
    """Gives one point, whatever is asked."""

    def __init__(self, space: Mapping[str, AnyAxis], point: Mapping[str, Any]) -> None:
        self._values = {
            name: json.dumps(value) if isinstance(space[name], ChoiceAxis) else value
            for name, value in point.items()
        }

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """None: the axes do not depend on each other."""
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Nothing, as there is no such space."""
        return {}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """The point's value."""
        return self._values[param_name]
