"""What the driver hands to its workers: light values, which both load."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from darkroom.jobs.artifacts.model import OutOfMemory
from darkroom.jobs.training.checkpoint import RunAddress
from darkroom.jobs.training.dataset import TrainingData
from darkroom.jobs.training.trainable import Trainable
from darkroom.storage import Artifact, Parent


@dataclass(frozen=True)
class WorkerSettings:
    """One run, as each of its workers gets it."""

    trainable: Trainable[Any]
    data: TrainingData
    address: RunAddress
    parents: tuple[Parent, ...]
    """Of every checkpoint, and of the model."""
    start: Artifact | None = None
    """The checkpoint that the run starts from, where it starts from one (`init_from`)."""
    out_of_memory: tuple[OutOfMemory, ...] = ()
    """What ended earlier attempts, and may be in no checkpoint."""
