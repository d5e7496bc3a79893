"""A training loop as one writes it by hand: plain torch, no Ray, no Lightning, no Darkroom around.

    python -m benchmarks.bare_loop CONFIG RESULT
    python -m torch.distributed.run --nproc-per-node 2 -m benchmarks.bare_loop CONFIG RESULT

CONFIG is a `TrainConfig` as JSON. From it come what both sides must share: network, data, batch,
loss, AdamW with its learning rates, clipping, EMA, threads, precision, deterministic kernels.
Pictures are decoded once and lie in memory; every `log_every_steps` the loss and the gradient's
norm are read. Neither validation nor checkpoints. RESULT gets the seconds and this process's
processor seconds of a step, averaged over each logging interval, as JSON.
"""

from __future__ import annotations

import io
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F  # noqa: N812 - as everyone writes it
from benchmarks.by_hand import LoopByHand
from PIL import Image
from torch import Tensor

from darkroom.config import build_config
from darkroom.diffusion import build_schedule
from darkroom.jobs.pictures.shape import ImageShape
from darkroom.jobs.train.config import TrainConfig
from darkroom.jobs.train.unet import build_unet
from darkroom.storage import Artifact, open_artifact


@dataclass(frozen=True)
class Rows:
    """The train split: images uint8 (N, C, H, W), labels int64 (N,), and how many classes."""

    images: Tensor
    labels: Tensor
    num_classes: int


def load_rows(dataset: Artifact) -> Rows:
    """Every training picture, decoded."""
    images, labels = [], []
    for entry in dataset.entries("data/train/"):
        table = dataset.read_table(entry.name)
        for data in table["image"].to_pylist():
            with Image.open(io.BytesIO(data)) as image:
                pixels = np.asarray(image)
            images.append(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))
        labels += table["label"].to_pylist()
    return Rows(
        torch.from_numpy(np.stack(images)),
        torch.tensor(labels, dtype=torch.int64),
        len(dataset.manifest.metadata["classes"]),
    )


class Loop(LoopByHand):
    """Network, optimizer and EMA of one rank."""

    def __init__(self, config: TrainConfig, rows: Rows, *, rank: int, world: int) -> None:
        self._config, self._rows, self._rank, self._world = config, rows, rank, world
        _, channels, height, width = rows.images.shape
        torch.manual_seed(config.seed)
        network = build_unet(config, ImageShape(height, width, channels), rows.num_classes)
        super().__init__(config, network, list(network.parameters()))
        schedule = build_schedule(config.schedule)
        self._signal_T = schedule.sqrt_alphas_cumprod.float()
        self._spread_T = schedule.sqrt_one_minus_alphas_cumprod.float()
        # The same order on all ranks, other noise on each.
        self._shuffle = torch.Generator().manual_seed(config.seed)
        self._order, self._position = torch.empty(0, dtype=torch.int64), 0
        torch.manual_seed(config.seed + rank)

    def _loss(self) -> Tensor:
        x0, labels = self._batch()
        timesteps = torch.randint(0, len(self._signal_T), (len(x0),))
        noise = torch.randn_like(x0)
        x_t = _per_image(self._signal_T[timesteps]) * x0
        x_t += _per_image(self._spread_T[timesteps]) * noise
        predicted: Tensor = self._model(x_t, timesteps, class_labels=labels).sample
        return F.mse_loss(predicted, noise)

    def _batch(self) -> tuple[Tensor, Tensor]:
        """This rank's share of the next batch: images in [-1, 1], labels with some dropped."""
        size = self._config.batch_size
        if self._position + size > len(self._order):
            num_rows = len(self._rows.images)
            self._order, self._position = torch.randperm(num_rows, generator=self._shuffle), 0
        share = size // self._world
        first = self._position + self._rank * share
        chosen = self._order[first : first + share]
        self._position += size
        labels = self._rows.labels[chosen]
        dropped = torch.rand(share) < self._config.objective.label_dropout
        labels = torch.where(dropped, self._rows.num_classes, labels)
        return self._rows.images[chosen].float().div_(127.5).sub_(1.0), labels


def _per_image(values_B: Tensor) -> Tensor:
    return values_B[:, None, None, None]


def main() -> None:
    config_file, result_file = map(Path, sys.argv[1:])
    values: dict[str, Any] = json.loads(config_file.read_text())
    config = build_config(TrainConfig, values)
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    torch.set_num_threads(config.compute.num_threads)
    torch.use_deterministic_algorithms(config.compute.deterministic)
    rows = load_rows(open_artifact(config.input, kind="dataset"))
    if world > 1:
        dist.init_process_group("gloo")
    loop = Loop(config, rows, rank=rank, world=world)
    if world > 1:
        loop.distribute()
    found = loop.run()
    if rank == 0:
        result_file.write_text(json.dumps(found))
    if world > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
