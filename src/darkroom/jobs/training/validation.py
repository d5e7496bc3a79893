"""Validation loss of the averaged weights over fixed rows, shared out over the ranks.

Row i always meets the same noise and timestep, so two validations differ by the weights alone.
The sum over rows is gathered per row and added in one order: the result does not depend on the
number of ranks.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.distributed as dist

from darkroom.jobs.training.module import TrainedModule
from darkroom.jobs.training.stream import DataRows


class Validation:
    """Rows 0 .. num_rows - 1 of a split, in batches, striped over ranks."""

    def __init__(self, rows: DataRows, *, num_rows: int, batch_size: int) -> None:
        self._rows = rows
        self._num_rows = num_rows
        self._batch_size = batch_size

    def loss(self, module: TrainedModule) -> float:
        """Mean loss under the averaged weights; every rank calls it and gets the same number."""
        rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        losses = torch.zeros(self._num_rows, dtype=torch.float64)
        with module.averaged(), torch.no_grad():
            for first in list(range(0, self._num_rows, self._batch_size))[rank::world]:
                last = min(first + self._batch_size, self._num_rows)
                batch = module.on_device(self._rows.fetch(np.arange(first, last, dtype=np.int64)))
                losses[first:last] = module.validation_losses(batch, first).double().cpu()
        if world > 1:
            shared = losses.to(module.device)
            dist.all_reduce(shared)  # Each row is non-zero on one rank only: exact.
            losses = shared.cpu()
        return float(losses.mean())
