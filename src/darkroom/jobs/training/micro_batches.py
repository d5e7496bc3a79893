"""The gradient of one optimizer step: a rank's share of the batch, in pieces that fit into memory.

When a rank runs out of memory, all ranks halve the micro-batch and do the step again. What a row
contributes does not depend on its micro-batch (`draws.py`), so the step means what it meant, up to
rounding; only dropout inside the network falls otherwise. The size is the run's state: it is in
each checkpoint, and in no config.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from darkroom.errors import ConfigError
from darkroom.jobs.artifacts.model import OutOfMemory
from darkroom.jobs.training.gradients import failed_rank, own_rank, sum_over_ranks
from darkroom.jobs.training.memory_events import MicroBatchTooLargeError, joined
from darkroom.jobs.training.training_stream import Batch, num_rows, part

if TYPE_CHECKING:
    from darkroom.jobs.training.module import TrainedModule


class MicroBatches:
    """Gradients of steps, at most `size` rows at once; every rank has one, and all stay alike."""

    def __init__(self, size: int, *, batch_size: int) -> None:
        """size: to begin with. batch_size: rows of a full step over all ranks."""
        self.size = size
        self._batch_size = batch_size
        self._known: tuple[OutOfMemory, ...] = ()
        self.events: list[OutOfMemory] = []

    def know(self, events: Sequence[OutOfMemory]) -> None:
        """Take in what ended attempts whose events are in no checkpoint yet."""
        self._known = tuple(events)
        self._take(self._known)

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"events": [asdict(event) for event in self.events]}

    def restore(self, state: dict[str, Any]) -> None:
        """What did not fit before does not fit now, whatever the config says."""
        self._take(joined([OutOfMemory(**event) for event in state["events"]], self._known))

    def _take(self, events: Sequence[OutOfMemory]) -> None:
        self.events = list(events)
        self.size = min([self.size, *(event.new_micro_batch_size for event in events)])

    def too_large(self, step: int) -> MicroBatchTooLargeError:
        """What ends the attempt where the ranks cannot agree on going on in place.

        Errors: ConfigError when a single row does not fit.
        """
        self._halve(step, own_rank())
        return MicroBatchTooLargeError(self.events[-1])

    def probe(self, module: TrainedModule, batch: Batch, *, spare_bytes: int = 0) -> None:
        """Find how many rows of a batch fit at once; no gradient is left.

        The second of two passes is the fuller one: it has a gradient beside it.
        Errors: as `gradients`.
        """
        self.gradients(module, batch, spare_bytes=spare_bytes)
        for parameter in module.with_gradients():
            parameter.grad = None
        module.begin_terms()

    def gradients(self, module: TrainedModule, batch: Batch, *, spare_bytes: int = 0) -> Tensor:
        """Leave the gradient of the step's mean loss in `.grad`, alike on every rank.

        spare_bytes: memory that must be left, for what a first step allocates afterwards.
        Returns the sum of this rank's losses, shape ().
        Errors: ConfigError when a single row does not fit.
        """
        parameters = module.with_gradients()
        while True:
            losses = self._try(module, batch, spare_bytes)
            rank = failed_rank(parameters, failed=losses is None)
            if rank is None and losses is not None:
                sum_over_ranks(parameters)
                return losses
            self._halve(batch["step"], rank or 0)

    def _try(self, module: TrainedModule, batch: Batch, spare_bytes: int) -> Tensor | None:
        """None when memory did not suffice; no rank waits for another meanwhile."""
        try:
            return self._backward(module, batch, spare_bytes)
        except torch.OutOfMemoryError:
            pass  # Its frames hold the pass's tensors until here.
        for parameter in module.with_gradients():
            parameter.grad = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None

    def _backward(self, module: TrainedModule, batch: Batch, spare_bytes: int) -> Tensor:
        spare = torch.empty(spare_bytes, dtype=torch.uint8, device=module.device)
        for parameter in module.with_gradients():
            parameter.grad = None
        module.begin_terms()
        total = torch.zeros((), dtype=torch.float64, device=module.device)
        for first, last in self._bounds(num_rows(batch)):
            module.seed_dropout(batch["step"], batch["first"] + first)
            losses = module.training_losses(module.on_device(part(batch, first, last)))
            module.manual_backward(module.loss_scale.value * losses.sum() / self._batch_size)
            total += losses.detach().sum()
        del spare
        return total

    def _bounds(self, rows: int) -> Iterator[tuple[int, int]]:
        for first in range(0, rows, self.size):
            yield first, min(first + self.size, rows)

    def _halve(self, step: int, rank: int) -> None:
        if self.size == 1:
            raise ConfigError(
                "batch_size",
                self._batch_size,
                f"not even one row at a time fits into the memory of rank {rank}",
                "take a smaller network or smaller pictures, compute.precision bfloat16, or a "
                "device with more memory",
            )
        event = OutOfMemory(
            step=step, rank=rank, micro_batch_size=self.size, new_micro_batch_size=self.size // 2
        )
        self.events.append(event)
        self.size = event.new_micro_batch_size
