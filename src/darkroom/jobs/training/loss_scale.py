"""The loss scale of float16, whose smallest gradients would else be zero.

Dynamic loss scaling of Micikevicius et al. 2018, section 3.2, with the numbers of
torch.amp.GradScaler. A step whose gradients overflow changes nothing: it counts as a step, and the
scale halves. The scale is the run's state and in each checkpoint, so a resumed run skips the steps
that the undisturbed one skips. Ranks look at their common sum, and so decide alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.utils import get_total_norm

_INITIAL = 2.0**16
_GROWTH_INTERVAL = 2000
_LEAST = 2.0**-14
"""Float16's smallest normal number: where this does not help, no scale will."""


@dataclass(slots=True)
class LossScale:
    """What losses are multiplied with before the backward pass."""

    value: float = 1.0
    dynamic: bool = False
    """Whether it changes, and gradients are looked at."""
    good_steps: int = 0
    """Since the scale last changed."""
    skipped: int = 0
    """Steps of the run whose gradients overflowed."""

    @classmethod
    def for_precision(cls, precision: str) -> LossScale:
        """Of `compute.precision`; 1, for ever, where gradients are no float16."""
        return cls(_INITIAL, dynamic=True) if precision == "float16" else cls()

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return asdict(self)

    def columns(self) -> dict[str, float]:
        """For the metrics log, where it changes."""
        return {"loss_scale": self.value, "skipped_steps": self.skipped} if self.dynamic else {}

    def unscale(self, parameters: Sequence[nn.Parameter]) -> bool:
        """Divide the gradients by the scale; where one is not finite, drop all of them.

        An optimizer leaves a parameter without a gradient as it is, its moments too. False where
        they were dropped. With the least scale they stay, for whoever looks for such a norm.
        """
        gradients = [each.grad for each in parameters if each.grad is not None]
        if not self.dynamic or not gradients:
            return True
        torch._foreach_mul_(gradients, 1 / self.value)
        if bool(get_total_norm(gradients).isfinite()):
            self.good_steps += 1
            if self.good_steps == _GROWTH_INTERVAL:
                self.value, self.good_steps = self.value * 2, 0
            return True
        if self.value <= _LEAST:
            return True
        for parameter in parameters:
            parameter.grad = None
        self.value, self.good_steps = self.value / 2, 0
        self.skipped += 1
        return False
