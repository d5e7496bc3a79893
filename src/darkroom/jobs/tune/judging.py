"""What a trained run is worth: its validation loss, or a figure of pictures drawn with its model.

The pictures and the figures are ordinary outputs of `sample` and `evaluate`, below the study's
`measured/`; done again, they are found there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from darkroom.config import build_config
from darkroom.errors import InputError, TrainingError
from darkroom.jobs.artifacts.evaluation import Evaluation
from darkroom.jobs.by_name import config_type_of, job_of
from darkroom.jobs.training.config import TrainingConfig
from darkroom.jobs.tune.config import TuneConfig
from darkroom.jobs.tune.objectives import VALIDATION_LOSS, figure_of
from darkroom.storage import open_artifact


def judged(
    config: TuneConfig, run: TrainingConfig, measured: str, result: Mapping[str, Any]
) -> float:
    """The objective of a run that has published its model.

    Errors: TrainingError where it has none, and those of `sample` and `evaluate`.
    """
    name = config.objective.name
    if name == VALIDATION_LOSS:
        value = result.get(VALIDATION_LOSS)
    else:
        value = _measured(config, run, f"{config.output}/{measured}")
    if value is None or not math.isfinite(value):
        raise TrainingError(f"the run has no finite {name}")
    return float(value)


def _measured(config: TuneConfig, run: TrainingConfig, place: str) -> float | None:
    drawn = f"{place}/samples"
    _run("sample", measuring_values(config, "sample", run.output, drawn))
    figures = f"{place}/evaluation"
    _run("evaluate", measuring_values(config, "evaluate", drawn, figures))
    name = figure_of(config.objective.name)
    found = Evaluation.of(open_artifact(figures)).metrics.get(name)
    return None if found is None else found.value


def measuring_values(config: TuneConfig, verb: str, source: str, output: str) -> dict[str, Any]:
    """The settings of `sample` or `evaluate` for one model."""
    places = {"input": source, "output": output, "on_existing": "resume"}
    if verb == "sample":
        # One worker: trials share the cluster, and each model draws a few hundred pictures.
        return {"num_workers": 1, "seed": config.seed, **config.objective.sample, **places}
    return {
        "metrics": [figure_of(config.objective.name)], "reference": config.input,
        **config.objective.evaluate, **places,
    }  # fmt: skip


def _run(verb: str, values: Mapping[str, Any]) -> None:
    job_of(verb)(build_config(config_type_of(verb), values))


def check_measuring(config: TuneConfig) -> None:
    """Refuse settings of `sample` and `evaluate` that these do not take. Errors: InputError."""
    if not config.objective.is_measured:
        return
    for verb in ("sample", "evaluate"):
        try:
            build_config(
                config_type_of(verb), measuring_values(config, verb, config.input, config.output)
            )
        except InputError as error:
            raise type(error)(
                f"objective.{verb}.{error.field}", error.value, error.problem, error.remedy
            ) from None
