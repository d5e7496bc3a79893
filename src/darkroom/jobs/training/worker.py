"""What every Ray Train worker runs, light enough for the driver and Ray Train's controller.

Both load this module to hand it on. Lightning and diffusers take seconds to import, which only
the workers need to spend: they stand in `fit.py` and behind `Trainable.build`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from darkroom.jobs.training.checkpoint import RunAddress
from darkroom.jobs.training.dataset import TrainingData
from darkroom.jobs.training.endings import Outcome
from darkroom.jobs.training.trainable import Trainable
from darkroom.storage import Parent


@dataclass(frozen=True)
class WorkerSettings:
    """What the driver hands to its workers."""

    trainable: Trainable[Any]
    data: TrainingData
    address: RunAddress
    parents: tuple[Parent, ...]
    """Of every checkpoint, and of the model."""
    monitor: Any = None
    """The run's `RunMonitor`, once there is one."""


def train_worker(settings: dict[str, WorkerSettings]) -> Outcome:
    """One rank's whole run; the value of rank 0 is the run's outcome."""
    from darkroom.jobs.training.fit import fit

    return fit(settings["settings"])
