"""A loss of the user's own, named by package.module:function.

    def function(prediction, target, x0_hat, timesteps, batch) -> Tensor

prediction, target, x0_hat: (B, C, h, w) float32; timesteps: (B,); batch: the rows' own columns
(`training_stream.Batch`). Returns each row's value, (B,), with a gradient to the prediction.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from darkroom.errors import ConfigError
from darkroom.jobs.finetune.estimate import Estimate
from darkroom.jobs.training.training_stream import Batch
from darkroom.messages import first_line

FIELD = "losses.custom.function"
_NAMED = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)")


def find_function(path: str) -> Callable[..., Any]:
    """Import it. Errors: ConfigError that names it."""
    named = _NAMED.fullmatch(path)
    if named is None:
        raise ConfigError(FIELD, path, "is no package.module:function", "name it like that")
    module_name, name = named.groups()
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise ConfigError(
                FIELD, path, f"its module needs {error.name}, which is not installed", "install it"
            ) from None
        raise ConfigError(
            FIELD, path, f"there is no module {error.name}",
            "install its package where the driver and the workers run, or put it on PYTHONPATH",
        ) from None  # fmt: skip
    except Exception as error:  # whatever a module does when it is imported
        raise ConfigError(
            FIELD, path, f"its module fails: {type(error).__name__}: {first_line(error)}", "mend it"
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        what = "has no such function" if function is None else "is no function there"
        raise ConfigError(FIELD, path, what, f"see what {module_name} defines")
    found: Callable[..., Any] = function
    return found


class CustomLoss:
    """The function as a term."""

    def __init__(self, path: str) -> None:
        """Errors: as `find_function`."""
        self._path = path
        self._function = find_function(path)

    def __call__(self, estimate: Estimate, batch: Batch) -> Tensor:
        """(B,). Errors: ConfigError naming the function, for one that fails or gives anything but
        a value for each row. That they are finite is seen later, without waiting for a GPU."""
        try:
            values = self._function(
                estimate.prediction, estimate.target, estimate.x0_hat, estimate.timesteps, batch
            )
        except (torch.OutOfMemoryError, MemoryError):
            raise
        except Exception as error:  # it is the user's, and may raise anything
            raise ConfigError(
                FIELD, self._path, f"it raised {type(error).__name__}: {first_line(error)}",
                "mend it",
            ) from error  # fmt: skip
        rows = len(estimate.prediction)
        if not isinstance(values, Tensor):
            raise self._refused(f"it returned a {type(values).__name__}", rows)
        if values.shape != (rows,) or not values.is_floating_point():
            raise self._refused(
                f"it returned {str(values.dtype).removeprefix('torch.')} {list(values.shape)} for "
                f"{rows} rows",
                rows,
            )
        return values.float()

    def _refused(self, problem: str, rows: int) -> ConfigError:
        return ConfigError(FIELD, self._path, problem, f"return a float tensor of shape [{rows}]")
