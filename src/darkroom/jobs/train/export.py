"""Turns a checkpoint into the published model: a diffusers folder, a card, the metrics.

Runs in the driver on a CPU, so that a run whose training is done but whose publishing was cut
off ends without starting Ray again. The weights are the EMA's.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DModel
from diffusers.training_utils import EMAModel

from darkroom.diffusion import build_schedule
from darkroom.errors import IntegrityError
from darkroom.jobs.artifacts.checkpoint import CheckpointInfo
from darkroom.jobs.artifacts.info import typed_values
from darkroom.jobs.artifacts.model import METRICS_FILE, MODEL_PREFIX, Goodput, ModelInfo
from darkroom.jobs.train.config import TrainConfig
from darkroom.jobs.train.dataset import DatasetFacts
from darkroom.jobs.train.model_card import model_card
from darkroom.jobs.train.unet import unet_arguments
from darkroom.jobs.training.checkpoint import STATE_FILE
from darkroom.jobs.training.ledger import Ledger
from darkroom.jobs.training.metrics_log import MetricsLog
from darkroom.storage import Artifact, Output
from darkroom.temporary import temporary_folder

_PIPELINE = {
    "_class_name": "DDPMPipeline",
    "scheduler": ["diffusers", "DDPMScheduler"],
    "unet": ["diffusers", "UNet2DModel"],
}


def export_model(
    output: Output,
    checkpoint: Artifact,
    dataset: Artifact,
    facts: DatasetFacts,
    config: TrainConfig,
    *,
    ledger: Ledger,
) -> Artifact:
    """Publish the checkpoint's EMA weights as the run's model artifact.

    The ledger is closed here: its last second is the one in which the manifest is made. The
    metrics tell how long steps took, so they are no content.
    """
    with temporary_folder("darkroom-export-") as directory:
        checkpoint.download(directory / "checkpoint")
        state = torch.load(
            directory / "checkpoint" / STATE_FILE, map_location="cpu", weights_only=True
        )
        log = MetricsLog.from_bytes((directory / "checkpoint" / METRICS_FILE).read_bytes())
        tree = directory / "artifact"
        folder = tree / MODEL_PREFIX
        _write_pipeline(folder, state, facts, config)
        info = _info(checkpoint, log, facts, config)
        card = model_card(info, dataset_content=dataset.content_digest)
        (folder / "model_card.md").write_text(card)
        (tree / METRICS_FILE).write_bytes(log.to_bytes())
        log.write_tensorboard(tree / "tensorboard")
        files = output.writer.write_tree(tree)
        ledger.spend("checkpoint", time.time())
        ledger.end("completed", time.time())
        info = replace(info, account=typed_values(Goodput, ledger.summary()))
        return output.publish(
            [replace(file, content=file.name.startswith(MODEL_PREFIX)) for file in files],
            metadata=info.to_metadata(),
            made_on_the_way=[checkpoint.as_parent("checkpoint")],
        )


def _write_pipeline(
    folder: Path, state: dict[str, Any], facts: DatasetFacts, config: TrainConfig
) -> None:
    unet = UNet2DModel(**unet_arguments(config.unet, facts.shape, facts.num_classes))
    ema = EMAModel(unet.parameters())
    ema.load_state_dict(state["ema"])
    ema.copy_to(unet.parameters())
    for name, parameter in unet.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise IntegrityError(
                f"weights: {name} holds NaN or infinite values; nothing was published; "
                f"resume from an earlier checkpoint"
            )
    unet.save_pretrained(folder / "unet")
    scheduler = build_schedule(config.schedule).to_diffusers(config.objective.prediction_type)
    (folder / "scheduler").mkdir(parents=True)
    text = json.dumps({"_class_name": "DDPMScheduler", **scheduler}, indent=2, sort_keys=True)
    (folder / "scheduler" / "scheduler_config.json").write_text(text + "\n")
    index = json.dumps(_PIPELINE, indent=2, sort_keys=True)
    (folder / "model_index.json").write_text(index + "\n")


def _info(
    checkpoint: Artifact, log: MetricsLog, facts: DatasetFacts, config: TrainConfig
) -> ModelInfo:
    shape, trained = facts.shape, CheckpointInfo.of(checkpoint)
    return ModelInfo(
        classes=facts.classes,
        image_size=(shape.height, shape.width),
        channels=shape.channels,
        class_conditional=facts.num_classes is not None,
        # Without label dropout its embedding stays as it was drawn: nothing to guide from.
        null_class=facts.num_classes if config.objective.label_dropout > 0 else None,
        schedule=config.schedule,
        prediction_type=config.objective.prediction_type,
        step=trained.step,
        seconds=trained.seconds,
        final={
            name: log.last(name)
            for name in ("loss", "validation_loss", "images_per_second", "data_wait_share")
        },
    )
