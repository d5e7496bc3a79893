"""What a recipe is: a config for each verb of a run, complete but for the places.

    digits().config(TrainConfig)(input="s3://bucket/data", output="s3://bucket/model")

`input` and `output` come with the call, or from flags.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from darkroom.config import Config, ConfigT, JobConfig
from darkroom.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Configs of every verb that a run of this recipe goes through."""

    name: str
    description: str
    """One line for `darkroom recipes`."""
    configs: tuple[partial[Any], ...]
    """One per verb, with typed values; what is not set has the config's default."""

    @property
    def verbs(self) -> list[str]:
        """Names of the verbs that it has configs for."""
        return [_verb(config.func) for config in self.configs]

    def config(self, config_type: type[ConfigT]) -> partial[ConfigT]:
        """The config of one verb. Errors: ConfigError when the recipe has none."""
        for config in self.configs:
            if config.func is config_type:
                return config
        problem = f"has no settings for {_verb(config_type)}"
        raise ConfigError("--recipe", self.name, problem, f"it has: {', '.join(self.verbs)}")

    def settings(self, config_type: type[JobConfig]) -> dict[str, Any]:
        """What the recipe sets of one verb's config, as plain values. Errors: as `config`."""
        keywords = self.config(config_type).keywords
        return {name: _plain(value) for name, value in keywords.items()}


def _verb(config_type: Any) -> str:
    name: str = config_type.__name__
    return name.removesuffix("Config").lower()


def _plain(value: Any) -> Any:
    """What was set, and the `kind` of a union; defaults are left out, for they may be overridden
    by a value of another kind, which has other fields."""
    if isinstance(value, Config):
        names = [
            name for name in type(value).model_fields if name in {*value.model_fields_set, "kind"}
        ]
        return {name: _plain(getattr(value, name)) for name in names}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
