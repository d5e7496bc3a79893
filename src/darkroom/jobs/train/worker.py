"""What every Ray Train worker runs, light enough for the driver and Ray Train's controller.

Both load this module to hand it on. Lightning and diffusers take seconds to import, which only
the workers need to spend: they stand in `fit.py`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from darkroom.jobs.training.checkpoint import RunAddress


@dataclass(frozen=True)
class WorkerSettings:
    """What the driver hands to its workers; plain values and the monitor's handle."""

    config: dict[str, Any]
    address: RunAddress
    monitor: Any


def train_worker(settings: dict[str, WorkerSettings]) -> dict[str, Any]:
    """One rank's whole run; the value of rank 0 is the run's outcome."""
    from darkroom.jobs.train.fit import fit

    return asdict(fit(settings["settings"]))
