"""One trial: an ordinary run, watched for its validation losses, and judged at its end.

Runs in the study's own process or in a Ray task. What is wrong with this trial (a config that does
not hold together, a loss that is not finite, a lost worker) is how it ended. What is wrong with the
study's storage, or a wish to stop, ends the study, and the trial goes on another time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from darkroom.errors import (
    DarkroomError,
    FencedError,
    InterruptedBySignal,
    StorageAccessError,
    StorageError,
)
from darkroom.jobs.artifacts.study import TrialState
from darkroom.jobs.by_name import job_of
from darkroom.jobs.training.goodput_records import worker_seconds_of
from darkroom.jobs.tune.config import TuneConfig
from darkroom.jobs.tune.judging import judged
from darkroom.jobs.tune.study import Ending
from darkroom.storage.manifest import CONFIRMED_PREFIX, MEASURED_PREFIX, TRIALS_PREFIX
from darkroom.storage.pointer import read_pointer
from darkroom.storage.stores import open_store

HALVED = "halving"
"""Why a run was asked to stop, where the study has decided it."""

_FIGURES = ("loss", "validation_loss", "images_per_second")

See = Callable[[int, float | None], str | None]
"""(step, validation loss) -> why the run shall stop, or None."""


@dataclass(frozen=True)
class Errand:
    """One run that a study wants."""

    name: str
    """Below the study: trials/3."""
    tried: Mapping[str, Any]
    seed: int | None = None
    """Another seed than the run's own."""

    @classmethod
    def trial(cls, number: int, tried: Mapping[str, Any]) -> Errand:
        """That of a trial."""
        return cls(f"{TRIALS_PREFIX}{number}", tried)

    @classmethod
    def confirming(cls, what: str, seed: int, tried: Mapping[str, Any]) -> Errand:
        """A run of the best or of the untuned config with a further seed."""
        return cls(f"{CONFIRMED_PREFIX}{what}-{seed}", tried, seed)

    @property
    def measured(self) -> str:
        """Where its pictures and figures lie, below the study."""
        return f"{MEASURED_PREFIX}{self.name.replace('/', '-')}"


def run_errand(
    config: TuneConfig,
    errand: Errand,
    see: See,
    turn: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Ending:
    """Train, and measure where the objective is a figure of pictures.

    turn: what measuring happens in, one errand at a time.
    Errors: InterruptedBySignal, FencedError, StorageError, StorageAccessError.
    """
    began = time.monotonic()
    output = f"{config.output}/{errand.name}"
    reasons: list[str] = []

    def on_row(row: Mapping[str, Any]) -> str | None:
        reason = see(int(row["step"]), row.get("validation_loss"))
        if reason is not None:
            reasons.append(reason)
        return reason

    def ending(state: TrialState, **more: Any) -> Ending:
        pointer = read_pointer(open_store(output))[0]
        return Ending(
            state=state,
            **{"step": 0 if pointer is None else pointer.step, **more},
            worker_seconds=worker_seconds_of(output),
            seconds=time.monotonic() - began,
        )

    try:
        tried = errand.tried if errand.seed is None else {**errand.tried, "seed": errand.seed}
        run = config.run_config(tried, output)
        result = job_of(config.verb)(run, on_row=on_row)
        figures = {name: _finite(result.get(name)) for name in _FIGURES}
        if reasons[-1:] == [HALVED]:
            return ending("stopped", step=result["step"], figures=figures)
        with turn() if config.objective.is_measured else nullcontext():
            value = judged(config, run, errand.measured, result)
        return ending("complete", value=value, step=result["step"], figures=figures)
    except InterruptedBySignal:
        if reasons[-1:] == [HALVED]:
            return ending("stopped")
        raise
    except (FencedError, StorageError, StorageAccessError):
        raise
    except (DarkroomError, ArithmeticError, ValueError, RuntimeError) as error:
        return ending("failed", error=str(error).strip() or type(error).__name__)


def _finite(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
