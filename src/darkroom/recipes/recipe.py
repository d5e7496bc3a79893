"""What a recipe is: a named, complete set of plain settings, one mapping per verb.

Plain values only; `build_config` checks them when a verb runs, and a contract test checks that
every recipe of the registry builds. `input` and `output` are not a recipe's business: they
come from flags.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from darkroom.errors import ConfigError

Settings = Mapping[str, Any]
"""Field -> value of one verb's config, nested as in its YAML."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Settings of every verb that a run of this recipe goes through."""

    name: str
    description: str
    """One line for `darkroom recipes`."""
    configs: Mapping[str, Settings]
    """Verb -> its settings."""

    def config(self, verb: str) -> Settings:
        """The settings of one verb. Errors: ConfigError when the recipe has none."""
        try:
            return self.configs[verb]
        except KeyError:
            has = ", ".join(self.configs)
            raise ConfigError(
                "--recipe", self.name, f"has no settings for {verb}", f"it has: {has}"
            ) from None
