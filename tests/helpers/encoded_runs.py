"""Fine-tuning from a cache in this process: what `finetune` would train on, without Ray."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tests.helpers.cache_runs import cache_config, cached_here
from tests.helpers.finetuning import finetune_config

from darkroom.jobs.artifacts.latents import Latents
from darkroom.jobs.finetune.config import FinetuneConfig
from darkroom.jobs.finetune.job import Finetuning
from darkroom.jobs.finetune.module import FinetuneModule
from darkroom.jobs.pictures.config import Split
from darkroom.jobs.training.dataset import TrainingData
from darkroom.jobs.training.plan import Batching, RankPlan
from darkroom.jobs.training.row_source import RowSource
from darkroom.jobs.training.training_stream import Batch, BatchRows
from darkroom.models.find import find_model
from darkroom.storage import open_artifact


@dataclass(frozen=True)
class EncodedRun:
    """One run's parts, as its driver and its only worker have them."""

    config: FinetuneConfig
    trainable: Finetuning
    data: TrainingData

    @classmethod
    def of(cls, base: Path, data: str, /, **changes: Any) -> EncodedRun:
        """Checked as by the driver."""
        config = finetune_config(base, input=data, **changes)
        trainable = Finetuning(config, find_model(config.base, field="base"))
        found = TrainingData.of(open_artifact(data), config, takes_buckets=trainable.takes_buckets)
        trainable.check(found)
        return cls(config, trainable, found)

    def source(self, split: Split = "train") -> RowSource:
        limit = self.config.limit if split == "train" else self.config.validation.num_images
        return self.trainable.source(self.data, split, limit)

    def module(self) -> FinetuneModule:
        """As a worker builds it."""
        torch.manual_seed(0)
        module = self.trainable.build(self.data)
        assert isinstance(module, FinetuneModule)
        module.prepare()
        return module.train()

    def training(self) -> tuple[RankPlan, BatchRows]:
        """The plan of the only rank, and its rows."""
        source = self.source()
        batching = Batching(self.config.batch_size)
        plan = source.plan(batching, seed=self.config.seed, shuffle_window=2)
        return plan, source.reader(plan, seed=self.config.seed, cache_bytes=0)

    def batch(self, step: int) -> Batch:
        """Of a step."""
        plan, rows = self.training()
        return rows.fetch(plan.rows(step), epoch=plan.epochs(step), step=step)

    def validation(self) -> list[Batch]:
        """All batches."""
        source = self.source("validation")
        plan, batches = source.in_order(self.config.micro_batch_size)
        rows = source.reader(plan, seed=None, cache_bytes=0)
        return [rows.fetch(some) for some in batches]


def cached(base: Path, data: str, output: Path, **changes: Any) -> Latents:
    """What `darkroom cache` makes of the data."""
    return cached_here(cache_config(data, str(output), base, **changes))
