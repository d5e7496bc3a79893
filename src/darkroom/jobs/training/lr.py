"""Learning-rate schedules as pure functions of the step.

`scale_at` gives the share of the peak rate; torch's LambdaLR applies it, so a resumed run
recomputes its rate instead of remembering it. Only `plateau` depends on the past: its scale is
kept by `PlateauTracker`, which a checkpoint carries.
"""

from __future__ import annotations

import dataclasses
import math

from darkroom.jobs.training.config import LrScheduleConfig


def scale_at(step: int, config: LrScheduleConfig, max_steps: int) -> float:
    """Share of the peak learning rate for optimizer step `step` (0-based), in [0, 1]."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.kind in ("linear", "cosine"):
        done = min((step - config.warmup_steps) / max(max_steps - config.warmup_steps, 1), 1.0)
        shape = 1.0 - done if config.kind == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))
        return config.final_scale + (1.0 - config.final_scale) * shape
    if config.kind == "step":
        return float(config.factor ** (step // config.step_every))
    return 1.0


@dataclasses.dataclass
class ImprovementTracker:
    """Counts validations since the loss last improved by more than `min_delta`."""

    min_delta: float = 0.0
    best: float = math.inf
    num_since_best: int = 0

    def update(self, loss: float) -> bool:
        """Take one validation loss; True when it is the best so far."""
        if loss < self.best - self.min_delta:
            self.best, self.num_since_best = loss, 0
            return True
        self.num_since_best += 1
        return False


@dataclasses.dataclass
class PlateauTracker:
    """Multiplies the rate by `factor` after `patience` validations without improvement."""

    factor: float
    patience: int
    scale: float = 1.0
    best: float = math.inf
    num_since_best: int = 0

    def update(self, loss: float) -> None:
        """Take one validation loss."""
        if loss < self.best:
            self.best, self.num_since_best = loss, 0
            return
        self.num_since_best += 1
        if self.num_since_best >= self.patience:
            self.scale *= self.factor
            self.num_since_best = 0
