"""A loss of the user's own, named by package.module:function.

    def function(prediction, target, x0_hat, timesteps, batch) -> Tensor

prediction, target, x0_hat: (B, C, h, w) float32; timesteps: (B,); batch: the rows' own columns
(`training_stream.Batch`). Returns each row's value, (B,), with a gradient to the prediction.
"""

from __future__ import annotations

import torch
from torch import Tensor

from darkroom.errors import ConfigError
from darkroom.jobs.finetune.estimate import Estimate
from darkroom.jobs.named_function import find_function
from darkroom.jobs.training.training_stream import Batch
from darkroom.messages import first_line

FIELD = "losses.custom.function"


class CustomLoss:
    """The function as a term."""

    def __init__(self, path: str) -> None:
        """Errors: as `find_function`."""
        self._path = path
        self._function = find_function(FIELD, path)

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
