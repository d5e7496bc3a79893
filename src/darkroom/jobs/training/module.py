"""The base of every trained LightningModule: optimizer, learning rate, EMA, gradient norm.

A subclass sets `network` before calling `build_ema`, and brings the loss. When steps happen,
what is logged and where checkpoints go is `callback.py`'s business.
"""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from diffusers.training_utils import EMAModel
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from darkroom.jobs.training.config import TrainingConfig
from darkroom.jobs.training.lr import PlateauTracker, scale_at
from darkroom.jobs.training.training_stream import Batch


class TrainedModule(pl.LightningModule):
    """Trains `network` with AdamW under a config's schedule, and keeps its average."""

    network: nn.Module

    def __init__(self, config: TrainingConfig) -> None:
        super().__init__()
        self.training_config = config
        self.plateau = PlateauTracker(config.lr_schedule.factor, config.lr_schedule.patience)
        # Read by the callback; stays on the device so that no step waits for it.
        self.grad_norm = torch.zeros(())

    def build_ema(self) -> None:
        """Start the average at the network's present weights."""
        self.ema = EMAModel(
            self.network.parameters(),
            decay=self.training_config.ema.decay,
            use_ema_warmup=True,
            power=self.training_config.ema.warmup_power,
            foreach=True,
        )

    def validation_losses(self, batch: Batch, first_index: int) -> Tensor:
        """Per-image losses (B,) of a batch whose first image has this index in the split."""
        raise NotImplementedError

    def on_fit_start(self) -> None:
        """Move the average, which is no module, to the device of the parameters."""
        self.ema.to(self.device)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW with the configured schedule, stepped per optimizer step."""
        config = self.training_config.optimizer
        lr_schedule = self.training_config.lr_schedule
        max_steps = self.training_config.max_steps
        optimizer = torch.optim.AdamW(
            self.network.parameters(),
            lr=config.learning_rate,
            betas=config.betas,
            eps=config.eps,
            weight_decay=config.weight_decay,
        )
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer,
            lambda step: self.plateau.scale * scale_at(step, lr_schedule, max_steps),
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step", "frequency": 1},
        }

    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip by global norm, keeping the norm from before clipping for the metrics."""
        limit = self.training_config.optimizer.max_grad_norm
        self.grad_norm = torch.nn.utils.clip_grad_norm_(
            self.network.parameters(), float("inf") if limit is None else limit
        )

    def update_ema(self) -> None:
        """Take the weights after an optimizer step into the average."""
        self.ema.step(self.network.parameters())

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the EMA and the plateau's memory."""
        checkpoint["ema"] = self.ema.state_dict()
        checkpoint["plateau"] = vars(self.plateau).copy()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore them; the weights and the optimizer are Lightning's."""
        self.ema.load_state_dict(checkpoint["ema"])
        self.plateau = PlateauTracker(**checkpoint["plateau"])
