"""Turns a checkpoint into the published model: the verb's files, the metrics, the goodput account.

The files are made in a Ray task that asks for what a worker had: a driver may sit on a small
machine, and only a worker's is known to hold the networks. The task needs nothing but the
checkpoint, so any later driver can do it again. The driver publishes, as it publishes everything.
The weights are the averaged ones.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from darkroom.errors import IntegrityError
from darkroom.jobs.artifacts.checkpoint import CheckpointInfo
from darkroom.jobs.artifacts.model import MODEL_PREFIX, OutOfMemory, TrainedInfo
from darkroom.jobs.training.checkpoint import STATE_FILE
from darkroom.jobs.training.dataset import TrainingData
from darkroom.jobs.training.goodput import GoodputAccount
from darkroom.jobs.training.metrics_log import MetricsLog
from darkroom.jobs.training.trainable import Trainable, TrainingResult
from darkroom.storage import Artifact, FileEntry, Output, PartWriter
from darkroom.temporary import temporary_folder

if TYPE_CHECKING:
    import torch

_FINAL = ("loss", "validation_loss", "images_per_second", "data_wait_share")


@dataclass(frozen=True, slots=True)
class _Exported:
    """What a task has made of a checkpoint."""

    files: tuple[FileEntry, ...]
    info: TrainedInfo


def export_model(
    output: Output,
    checkpoint: Artifact,
    trainable: Trainable[Any],
    data: TrainingData,
    *,
    account: GoodputAccount,
) -> Artifact:
    """Publish the checkpoint's averaged weights as the run's model artifact; needs a Ray session.

    Without workers the files are made here.

    The account is closed here: its last second is the one in which the manifest is made.
    Errors: IntegrityError when a weight is not finite, those of the verb's export.
    """
    if trainable.config.workers.num_workers == 0:
        exported = export_files(output.writer, checkpoint, trainable, data)
    else:
        exported = _exported_by_a_task(output.writer, checkpoint, trainable, data)
    account.spend("checkpoint", time.time())
    account.end("completed", time.time())
    return output.publish(
        exported.files,
        metadata=replace(exported.info, account=account.summary()).to_metadata(),
        made_on_the_way=[checkpoint.as_parent("checkpoint")],
    )


def _exported_by_a_task(
    writer: PartWriter, checkpoint: Artifact, trainable: Trainable[Any], data: TrainingData
) -> _Exported:
    import ray

    from darkroom.jobs.ray_data import TASK_RETRIES, darkroom_errors

    remote: Any = ray.remote
    resources = dict(trainable.config.workers.resources_per_worker)
    task = remote(export_files).options(
        num_cpus=resources.get("CPU", 0), num_gpus=resources.get("GPU", 0), max_retries=TASK_RETRIES
    )
    with darkroom_errors():
        exported: _Exported = ray.get(task.remote(writer, checkpoint, trainable, data))
    return exported


def export_files(
    writer: PartWriter, checkpoint: Artifact, trainable: Trainable[Any], data: TrainingData
) -> _Exported:
    """Write the model's files; invisible until the driver publishes them. Runs in a task.

    Errors: as `export_model`.
    """
    import torch

    from darkroom.jobs.training.checkpoint_state import averaged_weights, read_state

    torch.set_num_threads(trainable.config.compute.num_threads)
    with temporary_folder("darkroom-export-") as directory:
        checkpoint.download(directory / "checkpoint")
        file = directory / "checkpoint" / STATE_FILE
        state = read_state(file, parts=("ema", "micro_batches"))
        weights, events = averaged_weights(state), state["micro_batches"]["events"]
        log = MetricsLog.read(directory / "checkpoint")
        info = CheckpointInfo.of(checkpoint)
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
        # A place for each try: one that Ray takes for lost may still be writing.
        own = replace(writer, attempt=f"{writer.attempt}/{secrets.token_hex(4)}")
        files = own.write_tree(tree)
    return _Exported(
        tuple(replace(file, content=file.name.startswith(MODEL_PREFIX)) for file in files),
        replace(exported, out_of_memory=tuple(OutOfMemory(**event) for event in events)),
    )


def _check_finite(weights: Mapping[str, torch.Tensor]) -> None:
    import torch

    for name, weight in weights.items():
        if not bool(torch.isfinite(weight).all()):
            raise IntegrityError(
                f"weights: {name} holds NaN or infinite values; nothing was published; "
                f"resume from an earlier checkpoint"
            )
