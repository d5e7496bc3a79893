"""`train` on a worker whose memory ends: the real module, refusing more rows than would fit."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from darkroom.jobs.train.config import TrainConfig
from darkroom.jobs.train.job import UNetTraining
from darkroom.jobs.train.module import DiffusionModule
from darkroom.jobs.training.dataset import TrainingData
from darkroom.jobs.training.module import TrainedModule
from darkroom.jobs.training.training_stream import Batch


@dataclass(frozen=True)
class Memory:
    """What fits into one rank's."""

    rank: int
    most_rows: int
    from_step: int = 0


class SmallMemory(UNetTraining):
    """The U-Net, trained where one rank's memory takes so many rows at once."""

    def __init__(self, config: TrainConfig, memory: Memory) -> None:
        super().__init__(config)
        self.memory = memory

    def build(self, data: TrainingData) -> TrainedModule:
        """The U-Net with its loss, and memory that ends."""
        return _Module(self.config, data, self.num_classes(data), self.memory)


class _Module(DiffusionModule):
    def __init__(
        self, config: TrainConfig, data: TrainingData, num_classes: int | None, memory: Memory
    ) -> None:
        super().__init__(config, data.shape, num_classes)
        self.memory = memory

    def training_losses(self, batch: Batch) -> Tensor:
        is_here = self.global_rank == self.memory.rank and batch["step"] >= self.memory.from_step
        if is_here and len(batch["image"]) > self.memory.most_rows:
            raise torch.OutOfMemoryError("injected")
        return super().training_losses(batch)
