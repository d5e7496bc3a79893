"""What every Ray Train worker runs, light enough for the driver and Ray Train's controller.

Both load this module to hand it on. Lightning and diffusers take seconds to import, which only
the workers need to spend: they stand in `fit.py` and behind `Trainable.build`.
"""

from __future__ import annotations

from typing import TypedDict

from darkroom.jobs.training.endings import Outcome
from darkroom.jobs.training.monitor_line import MonitorLine
from darkroom.jobs.training.worker_settings import WorkerSettings


class Task(TypedDict):
    """What every worker is given."""

    settings: WorkerSettings
    line: MonitorLine


def train_worker(task: Task) -> Outcome:
    """One rank's whole run; the value of rank 0 is the run's outcome."""
    from darkroom.jobs.training.fit import fit

    return fit(task["settings"], task["line"])
