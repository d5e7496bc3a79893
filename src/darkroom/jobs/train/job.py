"""The `train` verb: pixel-space diffusion with a class-conditional U-Net.

Here stands what is this verb's own: which network its data give, and the diffusers folder that it
is published as.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darkroom.errors import DataError
from darkroom.jobs.artifacts.model import ModelInfo
from darkroom.jobs.train.config import TrainConfig
from darkroom.jobs.train.unet import unet_arguments
from darkroom.jobs.training.dataset import TrainingData
from darkroom.jobs.training.job import run_training
from darkroom.jobs.training.trainable import OnRow, Trainable, TrainingResult, ignore_row

if TYPE_CHECKING:
    from darkroom.jobs.training.module import TrainedModule

_PIPELINE = {
    "_class_name": "DDPMPipeline",
    "scheduler": ["diffusers", "DDPMScheduler"],
    "unet": ["diffusers", "UNet2DModel"],
}


def run(config: TrainConfig, *, on_row: OnRow = ignore_row) -> dict[str, Any]:
    """Train until the model is published; returns where, and its figures.

    Errors: as `run_training`.
    """
    return run_training(UNetTraining(config), on_row=on_row)


class UNetTraining(Trainable[TrainConfig]):
    """diffusers' UNet2DModel, which is published with its scheduler."""

    verb = "train"
    info = ModelInfo
    network_fields = (
        *("unet.block_out_channels", "unet.layers_per_block", "unet.attention_resolutions"),
        *("unet.attention_head_dim", "unet.norm_num_groups", "objective.class_conditional"),
        "objective.prediction_type",
    )

    @property
    def columns(self) -> tuple[str, ...]:
        """Labels are read where the network takes them."""
        return ("image", "label") if self.config.objective.class_conditional else ("image",)

    def num_classes(self, data: TrainingData) -> int | None:
        """None when the network is not conditioned on classes."""
        return len(data.classes) if self.config.objective.class_conditional else None

    def check(self, data: TrainingData) -> None:
        """Refuse data without classes, and images that cannot be halved once per level."""
        if self.config.objective.class_conditional and not data.classes:
            raise DataError(
                "input", data.uri, "has no classes", "set objective.class_conditional=false"
            )
        unet_arguments(self.config.unet, data.shape, self.num_classes(data))

    def remarks(self, data: TrainingData) -> Iterator[str]:
        """A network without attention, where some was asked for."""
        levels = range(len(self.config.unet.block_out_channels))
        sizes = [data.shape.height >> level for level in levels]
        wanted = self.config.unet.attention_resolutions
        if wanted and not set(wanted) & set(sizes):
            yield (
                f"unet.attention_resolutions {list(wanted)}: the levels of these pictures are "
                f"{sizes} pixels high, so the model has no attention"
            )

    def build(self, data: TrainingData) -> TrainedModule:
        """The U-Net with its loss."""
        from darkroom.jobs.train.module import DiffusionModule

        return DiffusionModule(self.config, data.shape, self.num_classes(data))

    def export(self, data: TrainingData, result: TrainingResult, folder: Path) -> ModelInfo:
        """A folder that diffusers loads, with a model card."""
        from diffusers import UNet2DModel

        from darkroom.diffusion import build_schedule
        from darkroom.jobs.train.model_card import model_card

        config, num_classes = self.config, self.num_classes(data)
        unet = UNet2DModel(**unet_arguments(config.unet, data.shape, num_classes))
        unet.load_state_dict(
            {name.removeprefix("network."): weight for name, weight in result.weights.items()}
        )
        unet.save_pretrained(folder / "unet")
        scheduler = build_schedule(config.schedule).to_diffusers(config.objective.prediction_type)
        (folder / "scheduler").mkdir()
        _write_json(
            folder / "scheduler" / "scheduler_config.json",
            {"_class_name": "DDPMScheduler", **scheduler},
        )
        _write_json(folder / "model_index.json", _PIPELINE)
        info = ModelInfo(
            classes=data.classes,
            image_size=(data.shape.height, data.shape.width),
            channels=data.dataset.info.channels,
            class_conditional=num_classes is not None,
            # Without label dropout its embedding stays as it was drawn: nothing to guide from.
            null_class=num_classes if config.objective.label_dropout > 0 else None,
            schedule=config.schedule,
            prediction_type=config.objective.prediction_type,
            step=result.step,
            seconds=result.seconds,
            final=result.final,
        )
        card = model_card(info, dataset_content=data.dataset.artifact.content_digest)
        (folder / "model_card.md").write_text(card)
        return info


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")
