"""A new run that starts where another has come to: "train longer", or on other data.

The driver finds the checkpoint and refuses what cannot go on from it before anything is written.
What a worker makes of its state is `starting_state.py`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from darkroom.errors import ConfigError, DataError, ObjectNotFoundError
from darkroom.jobs.artifacts import Kind
from darkroom.jobs.artifacts.checkpoint import CheckpointInfo
from darkroom.jobs.training.config import TrainingConfig
from darkroom.storage import Artifact, open_artifact

FIELD = "init_from.uri"
ROLE = "init_from"
"""Of the checkpoint among the new run's parents."""


def starting_checkpoint(
    config: TrainingConfig, network_fields: Sequence[str] = ()
) -> Artifact | None:
    """The checkpoint that the run starts from; None when it starts from nothing.

    network_fields: dotted fields of the config that must be what they were.
    Errors: DataError for what is no checkpoint and has none, ConfigError.
    """
    if config.init_from is None:
        return None
    checkpoint = _checkpoint_of(config.init_from.uri)
    step = CheckpointInfo.of(checkpoint, field=FIELD).step
    if config.init_from.steps == "continue" and step >= config.max_steps:
        raise ConfigError(
            "max_steps",
            config.max_steps,
            f"the run starts at step {step} of {checkpoint.uri}",
            "raise it, or set init_from.steps to restart",
        )
    before, now = checkpoint.manifest.config, config.to_dict()
    for field in network_fields:
        old, new = _value(before, field), _value(now, field)
        if old != new:
            raise ConfigError(
                field, new, f"the run that {FIELD} names was trained with {old!r}", "use that"
            )
    return checkpoint


def _checkpoint_of(uri: str) -> Artifact:
    """A checkpoint itself, or that which a published model was made from."""
    artifact = open_artifact(uri)
    if artifact.manifest.kind == Kind.CHECKPOINT:
        return artifact
    made_from = [each for each in artifact.manifest.parents if each.role == "checkpoint"]
    if artifact.manifest.kind != Kind.MODEL or not made_from:
        raise DataError(
            FIELD, uri, f"is a {artifact.manifest.kind} without a checkpoint",
            "give a run's output, or one of its checkpoints",
        )  # fmt: skip
    try:
        checkpoint = open_artifact(made_from[0].uri, kind=Kind.CHECKPOINT)
    except ObjectNotFoundError:
        checkpoint = None
    if checkpoint is None or checkpoint.digest != made_from[0].digest:
        raise DataError(
            FIELD, uri, f"its checkpoint {made_from[0].uri} is gone", "give another run's output"
        )
    return checkpoint


def _value(config: dict[str, Any], field: str) -> Any:
    value: Any = config
    for name in field.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value
