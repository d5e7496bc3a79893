"""A fine-tuning run whose rank 1 runs out of memory, for tests of what comes after."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from darkroom.jobs.finetune.job import Finetuning
from darkroom.jobs.finetune.module import FinetuneModule
from darkroom.jobs.training.dataset import TrainingData
from darkroom.jobs.training.training_stream import Batch

MOST_ROWS = 2
"""What fits at once."""


class FullMemoryModule(FinetuneModule):
    first_step = 0
    """Before it, memory suffices."""

    def training_losses(self, batch: Batch) -> Tensor:
        losses = super().training_losses(batch)
        is_due = batch["step"] >= self.first_step and dist.get_rank() == 1
        if is_due and len(losses) > MOST_ROWS:
            raise torch.OutOfMemoryError("injected")
        return losses


class FullMemory(Finetuning):
    """As the verb's own, but for memory."""

    first_step = 0

    def build(self, _: TrainingData) -> FullMemoryModule:
        module = FullMemoryModule(self.config, self._load())
        module.first_step = self.first_step
        return module
