"""Config of `tune`: which fields of a run are tried, how, and what the best one is.

    space:
      optimizer.learning_rate: {kind: float, low: 1e-4, high: 1e-2, log: true}
      lr_schedule.kind: {kind: choice, values: [constant, cosine]}

Imports neither ray nor optuna. The run's own fields are checked by the config of its verb, which
is found by its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from darkroom.config import Config, JobConfig, Place, PositiveInt, build_config, operational
from darkroom.errors import ConfigError, InputError
from darkroom.jobs.by_name import config_type_of
from darkroom.jobs.training.config import TrainingConfig
from darkroom.jobs.tune.axes import KINDS, AnyAxis
from darkroom.jobs.tune.objectives import check_objective
from darkroom.jobs.tune.settings import agreed, at, kept, replaced
from darkroom.jobs.tune.space import FIXED, check_space

TunedVerb = Literal["train", "finetune"]


class GridSearch(Config):
    """Every combination of the axes' values, each once."""

    kind: Literal["grid"] = "grid"
    """Every combination."""


class BayesSearch(Config):
    """Optuna's tree-structured Parzen estimator, over all axes together."""

    kind: Literal["bayes"] = "bayes"
    """A model of what is good."""
    num_trials: PositiveInt = 20
    """Trials in all, those that fail and those that are stopped included."""
    num_random: PositiveInt = 8
    """So many trials are drawn at random before the estimator is asked."""


class HalvingConfig(Config):
    """Asynchronous successive halving: at each rung of steps, only the better ones go on. A rung
    looks at the first validation at or after its step."""

    first_rung: PositiveInt | None = None
    """Optimizer steps before the first look; null is the eighth part of max_steps, and at least a
    validation's interval."""
    reduction_factor: Annotated[int, Field(ge=2, le=16)] = 3
    """Of so many trials at a rung one goes on; each rung has so many times the steps."""


class GoalConfig(Config):
    """What is made small or large."""

    name: Annotated[str, Field(min_length=1)] = "validation_loss"
    """validation_loss, or a figure of `darkroom evaluate`: kernel_classifier, class_accuracy. A
    figure is measured on pictures that are drawn with each trial's model."""
    sample: dict[str, Any] = Field(default_factory=dict)
    """For a figure: settings of `darkroom sample`."""
    evaluate: dict[str, Any] = Field(default_factory=dict)
    """For a figure: settings of `darkroom evaluate`."""

    @property
    def is_measured(self) -> bool:
        """Whether pictures must be drawn for it."""
        return self.name != "validation_loss"


class TuneConfig(JobConfig):
    """One study: many runs of one verb, and the best of them."""

    input: Annotated[Place, operational()]
    """URI of a dataset that `prepare` published, for every run."""
    verb: TunedVerb = "train"
    """What is run."""
    run: dict[str, Any] = Field(default_factory=dict)
    """Settings of that verb, the same for every run; what is left out has the verb's default."""
    space: Annotated[dict[str, AnyAxis], Field(min_length=1)]
    """Field of the run, dotted -> what is tried for it."""
    search: Annotated[GridSearch | BayesSearch, Field(discriminator="kind")] = BayesSearch()
    """grid or bayes."""
    halving: HalvingConfig | None = None
    """Stop poor runs early; null lets all of them end."""
    objective: GoalConfig = GoalConfig()
    confirm: Annotated[int, Field(ge=0, le=64)] = 0
    """Train the best config again with so many further seeds, and say how far they differ."""
    limit: PositiveInt | None = None
    """A quick look: at most so many trials."""
    trials_at_once: Annotated[PositiveInt | None, operational()] = None
    """Runs at a time; null is as many as the cluster has room for. 1 with run.workers.num_workers 0
    trains in this process, without Ray."""
    max_starts: Annotated[PositiveInt, operational()] = 5
    """A trial or a confirming run whose process was lost so many times is given up."""

    @field_validator("space", mode="before")
    @classmethod
    def _one_level(cls, value: object) -> object:
        return _flattened(value) if isinstance(value, Mapping) else value

    @model_validator(mode="after")
    def _fits_the_verb(self) -> Self:
        config_type = config_type_of(self.verb)
        for name in ("input", "output", "on_existing"):
            if name in self.run:
                raise ConfigError(f"run.{name}", self.run[name], FIXED[name], "leave it out of run")
        base = self.base
        # Places were made absolute by the verb's config; what was not set stays unset.
        object.__setattr__(self, "run", agreed(self.run, base.to_dict()))
        check_space(self.space, config_type, run=self.run, places=self._places)
        check_objective(self)
        if self.on_existing == "overwrite":
            raise ConfigError(
                "on_existing", "overwrite", "a study's trials are runs, which it never replaces",
                "give another output, or delete this one",
            )  # fmt: skip
        return self

    @property
    def base(self) -> TrainingConfig:
        """The run as it is before anything is tried. Errors: ConfigError below `run`."""
        return self.run_config({}, self.output)

    def run_config(self, tried: Mapping[str, Any], output: str) -> TrainingConfig:
        """The run with these values, dotted field -> value. Errors: ConfigError below `run`."""
        values: dict[str, Any] = {"seed": self.seed, **self.run}
        for name, value in tried.items():
            values = replaced(values, name, value)
        places = {**self._places, "output": output, "on_existing": "resume"}
        try:
            config = build_config(config_type_of(self.verb), {**values, **places})
        except InputError as error:
            raise type(error)(
                f"run.{error.field}", error.value, error.problem, error.remedy
            ) from None
        assert isinstance(config, TrainingConfig)  # noqa: S101 - both verbs' are
        return config

    @property
    def _places(self) -> dict[str, Any]:
        return {"input": self.input, "output": self.output}

    @property
    def runs_here(self) -> bool:
        """Whether the trials train in the study's own process."""
        return self.trials_at_once == 1 and self.base.workers.num_workers == 0

    def digest_values(self, *, with_added: bool = False) -> dict[str, Any]:
        """As every config's, without the operational fields of the run."""
        values = super().digest_values(with_added=with_added)
        return {**values, "run": kept(self.run, self.base.digest_values(with_added=with_added))}

    def tried_in(self, config: TrainingConfig) -> dict[str, Any]:
        """Field -> its value in such a run, for every axis."""
        return {name: at(config.to_dict(), name) for name in self.space}


def _flattened(space: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Sections of a space as dotted names: what `--set space.a.b={...}` makes."""
    flat: dict[str, Any] = {}
    for name, value in space.items():
        is_section = (
            isinstance(value, Mapping)
            and value
            and value.get("kind") not in KINDS
            and all(isinstance(below, Mapping) for below in value.values())
        )
        if is_section:
            flat |= _flattened(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
