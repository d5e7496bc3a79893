"""A function of the user's own, named by package.module:function."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from typing import Any

from darkroom.errors import ConfigError
from darkroom.messages import first_line

_NAMED = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)")


def find_function(field: str, path: str) -> Callable[..., Any]:
    """Import it. field: of the config, for a refusal. Errors: ConfigError that names both."""
    named = _NAMED.fullmatch(path)
    if named is None:
        raise ConfigError(field, path, "is no package.module:function", "name it like that")
    module_name, name = named.groups()
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise ConfigError(
                field, path, f"its module needs {error.name}, which is not installed", "install it"
            ) from None
        raise ConfigError(
            field, path, f"there is no module {error.name}",
            "install its package wherever this runs, workers included, or put it on PYTHONPATH",
        ) from None  # fmt: skip
    except Exception as error:  # whatever a module does when it is imported
        raise ConfigError(
            field, path, f"its module fails: {type(error).__name__}: {first_line(error)}", "mend it"
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        what = "has no such function" if function is None else "is no function there"
        raise ConfigError(field, path, what, f"see what {module_name} defines")
    found: Callable[..., Any] = function
    return found
