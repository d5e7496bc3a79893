"""Validation loss of the averaged weights over fixed rows, shared out over the ranks.

Row i always meets the same noise and timestep, so two validations differ by the weights alone.
The sum over rows is gathered per row and added in one order: the result does not depend on the
number of ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.distributed as dist

from darkroom.jobs.training.module import TrainedModule
from darkroom.jobs.training.plan import Rows
from darkroom.jobs.training.training_stream import BatchRows


class Validation:
    """The rows of a split, in batches of what fits into memory, striped over ranks."""

    def __init__(self, rows: BatchRows, batches_of: Callable[[int], Sequence[Rows]]) -> None:
        """batches_of: the numbers of all rows, each once, in batches of at most so many."""
        self._rows = rows
        self._batches_of = batches_of

    def loss(self, module: TrainedModule) -> float:
        """Mean loss under the averaged weights; every rank calls it and gets the same number."""
        rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        batches = self._batches_of(module.micro_batches.size)
        losses = torch.zeros(sum(map(len, batches)), dtype=torch.float64)
        own = list(batches[rank::world])
        num_counted = len(own)
        if module.sharding is not None and num_counted < -(-len(batches) // world):
            own.append(batches[0])  # every pass is collective; this one counts for rank 0
        with module.averaged(), torch.no_grad():
            for number, rows in enumerate(own):
                batch = module.on_device(self._rows.fetch(rows))
                found = module.validation_losses(batch, int(rows[0]))
                if number < num_counted:
                    losses[torch.from_numpy(rows)] = found.double().cpu()
        if world > 1:
            shared = losses.to(module.device)
            dist.all_reduce(shared)  # Each row is non-zero on one rank only: exact.
            losses = shared.cpu()
        return float(losses.mean())
