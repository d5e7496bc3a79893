"""Validation loss of the EMA weights over fixed images, shared out over the ranks.

Image i always meets the same noise and timestep, so two validations differ by the weights
alone. The sum over images is gathered per image and added in one order: the result does not
depend on the number of ranks.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.distributed as dist

from darkroom.jobs.training.module import TrainedModule
from darkroom.jobs.training.stream import ImageRows


class Validation:
    """Images 0 .. num_images - 1 of a split, in batches, striped over ranks."""

    def __init__(self, rows: ImageRows, *, num_images: int, batch_size: int) -> None:
        self._rows = rows
        self._num_images = num_images
        self._batch_size = batch_size

    def loss(self, module: TrainedModule) -> float:
        """Mean loss under the EMA weights; every rank calls it and gets the same number."""
        rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        losses = torch.zeros(self._num_images, dtype=torch.float64)
        parameters = list(module.network.parameters())
        module.ema.store(parameters)
        module.ema.copy_to(parameters)
        training = module.network.training
        module.network.eval()
        try:
            firsts = range(0, self._num_images, self._batch_size)
            for first in list(firsts)[rank::world]:
                last = min(first + self._batch_size, self._num_images)
                batch = self._rows.fetch(np.arange(first, last, dtype=np.int64))
                batch["image"] = batch["image"].to(module.device)
                batch["label"] = batch["label"].to(module.device)
                losses[first:last] = module.validation_losses(batch, first).double().cpu()
        finally:
            module.network.train(training)
            module.ema.restore(parameters)
        if world > 1:
            shared = losses.to(module.device)
            dist.all_reduce(shared)  # Each image is non-zero on one rank only: exact.
            losses = shared.cpu()
        return float(losses.mean())
