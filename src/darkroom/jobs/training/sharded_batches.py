"""The gradient of one optimizer step under FSDP2, where every pass is collective.

Ranks make equally many passes, though their shares of a batch may differ: who has no rows left
repeats one that counts nothing. A rank whose memory is full leaves the others in a collective
operation, so it ends the attempt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor

from darkroom.jobs.training.micro_batches import MicroBatches
from darkroom.jobs.training.training_stream import Batch, num_rows, part

if TYPE_CHECKING:
    from darkroom.jobs.training.module import TrainedModule


class ShardedMicroBatches(MicroBatches):
    """Gradients that FSDP2 sums in each backward pass."""

    def gradients(self, module: TrainedModule, batch: Batch, *, spare_bytes: int = 0) -> Tensor:
        """As `MicroBatches.gradients`; each rank keeps its share of the sum.

        Errors: MicroBatchTooLargeError.
        """
        try:
            return self._passes(module, batch, spare_bytes)
        except torch.OutOfMemoryError:
            raise self.too_large(batch["step"]) from None

    def _passes(self, module: TrainedModule, batch: Batch, spare_bytes: int) -> Tensor:
        device = module.device
        spare = torch.empty(spare_bytes, dtype=torch.uint8, device=device)
        for parameter in module.with_gradients():
            parameter.grad = None
        module.begin_terms()
        total = torch.zeros((), dtype=torch.float64, device=device)
        own = [part(batch, *bounds) for bounds in self._bounds(num_rows(batch))]
        most, spare_row = _agreed(batch, len(own), device)
        terms = dict(module.term_sums)
        for number in range(most):
            counts = number < len(own)
            rows = own[number] if counts else spare_row
            module.seed_dropout(rows["step"], rows["first"])
            losses = module.training_losses(module.on_device(rows))
            module.manual_backward(losses.sum() * counts / self._batch_size)
            if counts:
                total += losses.detach().sum()
                terms = dict(module.term_sums)
            module.term_sums = dict(terms)
        del spare
        return total


def _agreed(batch: Batch, passes: int, device: torch.device) -> tuple[int, Batch]:
    """How many passes all ranks make, and a row to fill up with: rank 0 has one at every step."""
    shared = torch.tensor([passes, -num_rows(batch)], device=device)
    dist.all_reduce(shared, op=dist.ReduceOp.MAX)
    most, least = shared.tolist()
    rows: list[Any] = [part(batch, 0, 1) if num_rows(batch) else None]
    if not least:
        sent = list(rows)
        dist.broadcast_object_list(sent, src=0)
        rows = rows if rows[0] is not None else sent
    return most, rows[0]
