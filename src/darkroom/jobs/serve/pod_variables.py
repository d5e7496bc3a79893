"""`$(DARKROOM_...)` in the settings of a RayService: variables of the pod, as the kubelet puts them
into a command.

A RayService's settings are a text that overlays cannot reach into; the pods' environment is not.
Only names that begin with DARKROOM_ count: a credential's variable cannot be asked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from darkroom.errors import ConfigError

_VARIABLE = re.compile(r"\$\((DARKROOM_[A-Z0-9_]+)\)")


def with_pod_variables(values: Any, environment: Mapping[str, str], *, field: str = "args") -> Any:
    """The plain values with every `$(DARKROOM_NAME)` in a text replaced.

    Errors: ConfigError naming a variable that the environment lacks.
    """
    if isinstance(values, Mapping):
        return {
            key: with_pod_variables(value, environment, field=str(key))
            for key, value in values.items()
        }
    if isinstance(values, list | tuple):
        return [with_pod_variables(value, environment, field=field) for value in values]
    if not isinstance(values, str):
        return values

    def one(match: re.Match[str]) -> str:
        if match[1] not in environment:
            remedy = f"set {match[1]} in the pods' env"
            raise ConfigError(field, values, f"names {match[1]}, which is not set", remedy)
        return environment[match[1]]

    return _VARIABLE.sub(one, values)
