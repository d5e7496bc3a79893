"""Fine-tuning without Ray: a module over a tiny base, batches, and a few steps of AdamW."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from tests.helpers.tiny_families import CAPTIONS, PIXELS

from darkroom.config import JobConfig, build_config
from darkroom.jobs.artifacts.model import FinetunedInfo
from darkroom.jobs.finetune.config import FinetuneConfig
from darkroom.jobs.finetune.export import export_lora
from darkroom.jobs.finetune.module import FinetuneModule
from darkroom.jobs.training.seeding import row_key
from darkroom.jobs.training.training_stream import Batch, make_batch
from darkroom.models.families.base import load_base
from darkroom.storage import open_output

LORA_FILE = "pytorch_lora_weights.safetensors"


def finetune_config(base: Path | str, **changes: Any) -> FinetuneConfig:
    """Small steps over a base; input and output are named and not there."""
    values: dict[str, Any] = {
        "base": str(base), "input": "/data", "output": "/output", "max_steps": 20,
        "batch_size": 4, "lora": {"rank": 4}, "optimizer": {"learning_rate": 1e-2},
        "lr_schedule": {"warmup_steps": 0}, "checkpoint": {"every_steps": 10}, "seed": 5,
    }  # fmt: skip
    for name, value in changes.items():
        values[name] = {**values.get(name, {}), **value} if isinstance(value, dict) else value
    return build_config(FinetuneConfig, values)


def finetune_module(config: FinetuneConfig) -> FinetuneModule:
    """As a worker builds it."""
    torch.manual_seed(0)
    module = FinetuneModule(config, load_base(Path(config.base), field="base", name=config.base))
    module.prepare()
    return module.train()


def batch_of(rows: int = 4, *, seed: int = 0, epoch: int = 0, first: int = 0) -> Batch:
    """Random pictures with captions; row i is the same in any batch."""
    numbers = range(first, first + rows)
    pictures = [
        np.random.default_rng((seed, number)).integers(0, 256, (3, PIXELS, PIXELS), dtype=np.uint8)
        for number in numbers
    ]
    return make_batch(
        np.stack(pictures),
        {"caption": [CAPTIONS[number % len(CAPTIONS)] for number in numbers]},
        row=np.array([row_key(f"row-{number}") for number in numbers], dtype=np.int64),
        epoch=np.full(rows, epoch, dtype=np.int64),
    )


def take_steps(module: FinetuneModule, steps: int, batch: Batch | None = None) -> list[float]:
    """The loss before each step."""
    optimizer: Any = module.configure_optimizers()
    optimizer = optimizer["optimizer"]
    losses = []
    for step in range(steps):
        loss = module.training_losses(batch or batch_of(epoch=step)).mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.item())
    return losses


def trained_weights(module: FinetuneModule) -> dict[str, torch.Tensor]:
    """What training hands to the export."""
    return {name: weight.detach().clone() for name, weight in module.trained.items()}


def write_untrained_lora(base: Path, folder: Path) -> None:
    """A LoRA file of adapters as they are drawn, text encoder included."""
    module = finetune_module(finetune_config(base, text_encoder={"learning_rate": 1e-3}))
    folder.mkdir()
    export_lora(module.config, module.base, trained_weights(module), folder)


def publish_lora(
    lora: Path, uri: Path, *, of: str, method: Literal["lora", "full"] = "lora"
) -> str:
    """The file in a folder as `finetune` publishes it. of: the digest of its base."""
    info = FinetunedInfo(
        family="sd", method=method, base_digest=of, base_license="mit", trigger_words=(),
        image_sizes=((32, 32),), step=1, seconds=1.0, final={},
    )  # fmt: skip
    with open_output(str(uri), kind="model", config=JobConfig(output=str(uri)), parents=[]) as out:
        file = out.writer.write_bytes(f"model/{LORA_FILE}", (lora / LORA_FILE).read_bytes())
        out.publish([file], metadata=info.to_metadata())
    return str(uri)
