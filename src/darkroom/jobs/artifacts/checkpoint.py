"""A checkpoint of a training run, complete in itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from darkroom.jobs.artifacts.info import Info
from darkroom.jobs.artifacts.kind import Kind


@dataclass(frozen=True, kw_only=True)
class CheckpointInfo(Info):
    """What a checkpoint's manifest says of it."""

    kind: ClassVar[Kind] = Kind.CHECKPOINT
    verb: ClassVar[str] = "train"
    version: ClassVar[int] = 2  # 1 drew noise for a worker's batch, and kept other loops' counts

    step: int
    epoch: int
    seconds: float
    """Of training until here, over all attempts."""
    validation_loss: float | None
    """Of these very weights; None when they were not validated."""
    finished: bool
    """Training ends here: the last step, or early stopping."""
