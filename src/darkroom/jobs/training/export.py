"""Turns a checkpoint into the published model: the verb's files, the metrics, the goodput account.

Runs in the driver on a CPU, so that a run whose training is done but whose publishing was cut
off ends without starting Ray again. The weights are the averaged ones.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from darkroom.errors import IntegrityError
from darkroom.jobs.artifacts.checkpoint import CheckpointInfo
from darkroom.jobs.artifacts.model import MODEL_PREFIX, OutOfMemory
from darkroom.jobs.training.checkpoint import STATE_FILE
from darkroom.jobs.training.dataset import TrainingData
from darkroom.jobs.training.goodput import GoodputAccount
from darkroom.jobs.training.metrics_log import MetricsLog
from darkroom.jobs.training.module import averaged_weights
from darkroom.jobs.training.trainable import Trainable, TrainingResult
from darkroom.storage import Artifact, Output
from darkroom.temporary import temporary_folder

_FINAL = ("loss", "validation_loss", "images_per_second", "data_wait_share")


def export_model(
    output: Output,
    checkpoint: Artifact,
    trainable: Trainable[Any],
    data: TrainingData,
    *,
    account: GoodputAccount,
) -> Artifact:
    """Publish the checkpoint's averaged weights as the run's model artifact.

    The account is closed here: its last second is the one in which the manifest is made.
    Errors: IntegrityError when a weight is not finite.
    """
    with temporary_folder("darkroom-export-") as directory:
        checkpoint.download(directory / "checkpoint")
        state = torch.load(
            directory / "checkpoint" / STATE_FILE, map_location="cpu", weights_only=True
        )
        log = MetricsLog.read(directory / "checkpoint")
        info = CheckpointInfo.of(checkpoint)
        weights = averaged_weights(state)
        _check_finite(weights)
        tree = directory / "artifact"
        (tree / MODEL_PREFIX).mkdir(parents=True)
        exported = trainable.export(
            data,
            TrainingResult(
                weights=weights,
                step=info.step,
                seconds=info.seconds,
                final={name: log.last(name) for name in _FINAL},
            ),
            tree / MODEL_PREFIX,
        )
        log.write(tree)
        log.write_tensorboard(tree / "tensorboard")
        files = output.writer.write_tree(tree)
        account.spend("checkpoint", time.time())
        account.end("completed", time.time())
        return output.publish(
            [replace(file, content=file.name.startswith(MODEL_PREFIX)) for file in files],
            metadata=replace(
                exported, account=account.summary(), out_of_memory=_memory_events(state)
            ).to_metadata(),
            made_on_the_way=[checkpoint.as_parent("checkpoint")],
        )


def _memory_events(state: Mapping[str, Any]) -> tuple[OutOfMemory, ...]:
    return tuple(OutOfMemory(**event) for event in state["micro_batches"]["events"])


def _check_finite(weights: Mapping[str, torch.Tensor]) -> None:
    for name, weight in weights.items():
        if not bool(torch.isfinite(weight).all()):
            raise IntegrityError(
                f"weights: {name} holds NaN or infinite values; nothing was published; "
                f"resume from an earlier checkpoint"
            )
