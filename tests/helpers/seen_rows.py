"""`train` that keeps a record of every row which a worker has computed a loss for."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from pathlib import Path

from torch import Tensor

from darkroom.jobs.train.config import TrainConfig
from darkroom.jobs.train.job import UNetTraining
from darkroom.jobs.train.module import DiffusionModule
from darkroom.jobs.training.dataset import TrainingData
from darkroom.jobs.training.module import TrainedModule
from darkroom.jobs.training.training_stream import Batch


class SeenRows(UNetTraining):
    """The U-Net; each worker writes its rows into a file of `folder`."""

    def __init__(self, config: TrainConfig, folder: Path) -> None:
        super().__init__(config)
        self.folder = folder

    def build(self, data: TrainingData) -> TrainedModule:
        """The U-Net with its loss, and a record of its rows."""
        return _Module(self.config, data, self.num_classes(data), self.folder)


class _Module(DiffusionModule):
    def __init__(
        self, config: TrainConfig, data: TrainingData, num_classes: int | None, folder: Path
    ) -> None:
        super().__init__(config, data.shape, num_classes)
        self.file = folder / f"rows-{os.getpid()}.jsonl"

    def training_losses(self, batch: Batch) -> Tensor:
        seen = {name: batch[name].tolist() for name in ("row", "epoch")}
        with self.file.open("a") as file:
            file.write(json.dumps({"step": batch["step"], "first": batch["first"], **seen}) + "\n")
        return super().training_losses(batch)


def rows_by_step(folder: Path) -> dict[int, list[tuple[int, int]]]:
    """Row and epoch of all rows of each step, in order; a step that was done again counts once.

    What a step held the second time must be what it held the first time.
    """
    places: dict[int, dict[int, tuple[int, int]]] = defaultdict(dict)
    for file in folder.glob("rows-*.jsonl"):
        for line in file.read_text().splitlines():
            record = json.loads(line)
            for at, pair in enumerate(zip(record["row"], record["epoch"], strict=True)):
                known = places[record["step"]].setdefault(record["first"] + at, pair)
                assert known == pair, f"step {record['step']} held other rows when it was redone"
    return {step: [rows[at] for at in sorted(rows)] for step, rows in sorted(places.items())}
