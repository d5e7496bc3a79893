"""A second training verb in miniature: captions, a frozen base, two groups of parameters."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from darkroom.jobs.artifacts.model import TrainedInfo
from darkroom.jobs.training.config import TrainingConfig
from darkroom.jobs.training.dataset import TrainingData
from darkroom.jobs.training.module import ParameterGroup, TrainedModule
from darkroom.jobs.training.trainable import Trainable, TrainingResult
from darkroom.jobs.training.training_stream import Batch


class CaptionModule(TrainedModule):
    def __init__(self, config: TrainingConfig, num_values: int) -> None:
        super().__init__(config)
        self.text, self.base = nn.Embedding(256, 8), nn.Linear(8, num_values)
        self.adapter = nn.Sequential(nn.Dropout(0.1), nn.Linear(8, num_values, bias=False))

    def parameter_groups(self) -> list[ParameterGroup]:
        groups = ("adapter", self.adapter, 1e-2), ("text", self.text, 1e-3)
        return [ParameterGroup(name, list(it.parameters()), rate) for name, it, rate in groups]

    def training_losses(self, batch: Batch) -> Tensor:
        return self.validation_losses(batch, 0)

    def validation_losses(self, batch: Batch, first_index: int) -> Tensor:  # noqa: ARG002
        tokens = [torch.tensor(list(str(caption).encode())) for caption in batch["caption"]]
        text = torch.stack([self.text(each).mean(0) for each in tokens])
        drawn: Tensor = self.base(text) + self.adapter(text) - batch["image"].flatten(1) / 255
        return drawn.square().mean(1)


class FinetuneInfo(TrainedInfo):
    verb = "finetune"


class Finetune(Trainable[TrainingConfig]):
    verb = "finetune"
    info = FinetuneInfo
    columns = ("image", "caption")

    def build(self, data: TrainingData) -> TrainedModule:
        return CaptionModule(self.config, data.shape.num_bytes)

    def export(self, _: TrainingData, result: TrainingResult, folder: Path) -> FinetuneInfo:
        save_file(dict(result.weights), folder / "adapter.safetensors")
        return FinetuneInfo(step=result.step, seconds=result.seconds, final=result.final)
