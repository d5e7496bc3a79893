"""What a study may make small or large, and which fields must then stay as they are.

The training loss is never one: it falls where a run sees easier noise, or repeats what it knows.
A validation loss has fixed pictures, noise and timesteps, and so may be compared between two runs
that ask their network for the same. Where they do not (another schedule, another prediction, other
weights of the loss), only pictures can be compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from darkroom.config import closest
from darkroom.errors import ConfigError
from darkroom.jobs.measuring.names import CLIP_SCORE, LPIPS_DIVERSITY, NAMES, NEARNESS, metric_name

if TYPE_CHECKING:
    from darkroom.jobs.tune.config import TuneConfig

VALIDATION_LOSS = "validation_loss"
_NO_GOALS = (CLIP_SCORE, LPIPS_DIVERSITY)
FIGURES = tuple(name for name in NAMES if not name.startswith(NEARNESS) and name not in _NO_GOALS)
"""Figures of `darkroom evaluate`, by the names that it publishes them under. What is most varied
is noise."""

_OTHER_LOSS = {
    "train": ("schedule.", "objective.prediction_type", "objective.min_snr_gamma"),
    "finetune": (
        *("objective.min_snr_gamma", "objective.offset_noise", "objective.input_perturbation"),
        *("objective.timestep_density", "objective.flow_shift", "losses."),
    ),
}
"""What changes the meaning of a validation loss, by its dotted name or section."""


def figure_of(name: str) -> str:
    """The one name of an objective: kid_classifier is kernel_classifier."""
    try:
        return metric_name(name)
    except ValueError:
        return name


def objectives_of(verb: str) -> tuple[str, ...]:
    """What runs of a verb can be judged by."""
    return (VALIDATION_LOSS, *FIGURES) if verb == "train" else (VALIDATION_LOSS,)


def check_objective(config: TuneConfig) -> None:
    """Refuse an objective that the verb has not, and a space that it cannot judge.

    Errors: ConfigError.
    """
    name, known = config.objective.name, objectives_of(config.verb)
    if figure_of(name) not in known:
        problem = f"is no objective of {config.verb}"
        if name in ("loss", "training_loss", "train_loss"):
            problem = "the training loss says nothing of pictures that a run has not seen"
        guess = closest(name, known)
        remedy = f"did you mean {guess!r}?" if guess else f"it has: {', '.join(known)}"
        raise ConfigError("objective.name", name, problem, remedy)
    if config.objective.is_measured and not config.base.workers.num_workers:
        _check_holds_nothing(config)
    judged = not config.objective.is_measured or config.halving is not None
    for axis in config.space:
        if axis.startswith("validation."):
            raise ConfigError(
                f"space.{axis}", None, "changes what the trials are judged by", "set it under run"
            )
        if judged and axis.startswith(_OTHER_LOSS[config.verb]):
            raise ConfigError(
                f"space.{axis}", None,
                "makes validation losses that cannot be compared",
                "take another objective (class_accuracy, kernel_classifier), without halving",
            )  # fmt: skip
        if config.halving is not None and axis == "max_steps":
            raise ConfigError(
                "space.max_steps", None, "is what halving chooses itself", "leave one of them out"
            )
    if config.base.data.ingest == "ray_data" or "data.ingest" in config.space:
        raise ConfigError(
            "run.data.ingest", config.base.data.ingest,
            "waits for CPUs beside its workers', which other trials may hold",
            "set it to exact",
        )  # fmt: skip


def _check_holds_nothing(config: TuneConfig) -> None:
    if not config.runs_here:
        raise ConfigError(
            "run.workers.num_workers", 0,
            f"makes each trial hold CPUs that {config.objective.name}'s pictures wait for",
            "set it to 1, or trials_at_once to 1",
        )  # fmt: skip
