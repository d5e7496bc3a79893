"""The LightningModule of `train`: the U-Net and its loss.

Noise, timestep, label dropout and flip are drawn for each row; dropout inside the network is the
micro-batch's (`training/module.py`).

Legend: B images of the micro-batch, C channels, H height, W width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from darkroom.diffusion import NoiseSchedule, build_schedule, diffusion_loss, drop_labels
from darkroom.diffusion.pixels import to_unit_range
from darkroom.jobs.pictures.shape import ImageShape
from darkroom.jobs.train.config import TrainConfig
from darkroom.jobs.train.unet import build_unet
from darkroom.jobs.training.augment import augmented
from darkroom.jobs.training.module import ParameterGroup, TrainedModule
from darkroom.jobs.training.seeding import VALIDATION, derive_seed
from darkroom.jobs.training.training_stream import Batch


class DiffusionModule(TrainedModule):
    """A class-conditional U-Net trained to undo q(x_t | x_0)."""

    def __init__(self, config: TrainConfig, shape: ImageShape, num_classes: int | None) -> None:
        super().__init__(config)
        self.config = config
        self.num_classes = num_classes
        self.network = build_unet(config, shape, num_classes)
        if config.compute.channels_last:
            self.network.to(memory_format=torch.channels_last)
        if config.compute.compile:
            self.network.compile()
        self.schedule: NoiseSchedule = build_schedule(config.schedule)

    def parameter_groups(self) -> list[ParameterGroup]:
        """The whole U-Net."""
        rate = self.config.optimizer.learning_rate
        return [ParameterGroup("unet", list(self.network.parameters()), rate)]

    def on_fit_start(self) -> None:
        """Move what is no module to the device of the parameters."""
        super().on_fit_start()
        self.schedule = self.schedule.to(self.device)

    def training_losses(self, batch: Batch) -> Tensor:
        """Per-image loss (B,)."""
        draws, labels = self.draws(batch), batch.get("label")
        x0 = augmented(to_unit_range(batch["image"]), draws, self.config.data)
        if labels is not None and self.num_classes is not None:
            probability = self.config.objective.label_dropout
            uniform = draws.uniform("label_dropout")
            labels = drop_labels(labels, self.num_classes, probability, uniform)
        timesteps = draws.integers("timestep", self.schedule.num_timesteps)
        return self._loss(x0, timesteps, draws.normal("noise", x0.shape[1:]), labels)

    def validation_losses(self, batch: Batch, first_index: int) -> Tensor:
        """Per-image loss (B,) with noise and timesteps fixed by each image's index."""
        x0 = to_unit_range(batch["image"])
        noises, timesteps = [], []
        for index in range(first_index, first_index + len(x0)):
            fixed = torch.Generator().manual_seed(derive_seed(self.config.seed, VALIDATION, index))
            noises.append(torch.randn(x0.shape[1:], generator=fixed))
            timesteps.append(torch.randint(0, self.schedule.num_timesteps, (), generator=fixed))
        return self._loss(
            x0,
            torch.stack(timesteps).to(x0.device),
            torch.stack(noises).to(x0.device),
            batch.get("label"),
        )

    def _loss(self, x0: Tensor, timesteps: Tensor, noise: Tensor, labels: Tensor | None) -> Tensor:
        if self.config.compute.channels_last:
            x0 = x0.contiguous(memory_format=torch.channels_last)
        x_t = self.schedule.q_sample(x0, timesteps, noise)
        output = self.network(x_t, timesteps, class_labels=labels).sample
        objective = self.config.objective
        return diffusion_loss(
            output.float(),
            x0=x0,
            noise=noise,
            t=timesteps,
            schedule=self.schedule,
            prediction_type=objective.prediction_type,
            min_snr_gamma=objective.min_snr_gamma,
        )
