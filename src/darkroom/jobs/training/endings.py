"""How a run ends: as a value from the workers, which the driver turns into its exit code.

What the user can mend (credentials that cannot be renewed, a clock, a full disk, bad data) would
only fail again: the run ends at once, and the same command goes on after it was mended. What may
heal by itself (a lost worker, a server that does not answer) is Ray Train's to restart.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from darkroom.errors import (
    FencedError,
    InputError,
    InterruptedBySignal,
    NonFiniteLossError,
)
from darkroom.jobs.artifacts.model import OutOfMemory
from darkroom.jobs.training.checkpoint import RunAddress
from darkroom.jobs.training.config import TrainingConfig
from darkroom.storage import RunPointer

logger = logging.getLogger(__name__)

Ending = Literal[
    "completed", "stopped_early", "interrupted", "non_finite", "fenced", "fault", "out_of_memory"
]


@dataclass(slots=True)
class Outcome:
    """How a worker's run ended, and where."""

    ending: Ending = "completed"
    step: int = 0
    first_bad_step: int | None = None
    bad_terms: tuple[str, ...] = ()
    """Terms of the loss that were NaN or infinite there, where they have names."""
    fault: InputError | None = None
    """What the user can mend."""
    out_of_memory: OutOfMemory | None = None
    """What the workers start again for."""


def raise_for(outcome: Outcome, config: TrainingConfig, address: RunAddress) -> None:
    """Return when there is something to export. Errors: the outcome as one of ours."""
    if outcome.fault is not None:
        raise outcome.fault
    if outcome.ending == "interrupted":
        raise InterruptedBySignal(
            f"stopped at step {outcome.step} of {config.max_steps}; a checkpoint is published, "
            f"run the same command to go on"
        )
    if outcome.ending == "fenced":
        raise FencedError(
            f"{config.output}: another driver took this run over at step {outcome.step}; "
            f"this one published nothing more"
        )
    if outcome.ending == "non_finite":
        good = RunPointer.attach(config.output, owner=address.owner).state.step
        raise NonFiniteLossError(
            f"{_bad(outcome.bad_terms)} became NaN or infinite at step {outcome.first_bad_step}; "
            f"last good checkpoint: "
            f"{f'step {good}' if good else 'none'}; nothing after it was published; "
            f"{_remedy(outcome.bad_terms)}"
        )
    if outcome.ending == "stopped_early":
        logger.info(
            "stopped early at step %d: the validation loss no longer improves", outcome.step
        )


def _bad(terms: Sequence[str]) -> str:
    if not terms:
        return "the loss or its gradient"
    return f"the loss term{'s' * (len(terms) > 1)} {' and '.join(terms)}"


def _remedy(terms: Sequence[str]) -> str:
    usual = "lower optimizer.learning_rate or set optimizer.max_grad_norm"
    return f"look at that term under losses, {usual}" if terms else usual
