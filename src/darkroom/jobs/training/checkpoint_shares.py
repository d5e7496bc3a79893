"""How all ranks write one checkpoint: rank 0 the state, under FSDP2 every rank its shares.

Where the networks are shared out, each rank uploads its own files to the place that rank 0 names,
and tells it what they are; rank 0 publishes when all have. So a manifest names whole checkpoints
only. A rank that cannot write ends by itself, and the others with it.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch.distributed as dist

from darkroom.jobs.training.checkpoint import STATE_FILE, CheckpointPlace
from darkroom.jobs.training.checkpoint_state import SHARDS_FOLDER
from darkroom.jobs.training.sharding import Sharding


class SharesWriter:
    """One checkpoint's writing, on one rank."""

    def __init__(
        self, trainer: pl.Trainer, output: str, step: int, sharding: Sharding | None
    ) -> None:
        self._trainer = trainer
        self._output = output
        self._step = step
        self._is_shared = sharding is not None

    def by_rank_zero(self, path: Path) -> CheckpointPlace:
        """Write the state's file; returns where the checkpoint is to be, with others' files."""
        place = CheckpointPlace.new(self._output, self._step)
        if self._is_shared:
            dist.broadcast_object_list([place], src=0)
        self._trainer.save_checkpoint(path, weights_only=False)
        if not self._is_shared:
            return place
        found: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(found, ())
        return replace(place, written=tuple(file for files in found for file in files))

    def by_another(self) -> None:
        """Write and upload this rank's shares, if it has any."""
        if not self._is_shared:
            self._trainer.save_checkpoint("unused: rank 0 writes", weights_only=False)
            return
        named: list[Any] = [None]
        dist.broadcast_object_list(named, src=0)
        place: CheckpointPlace = named[0]
        with tempfile.TemporaryDirectory(prefix="darkroom-checkpoint-") as folder:
            self._trainer.save_checkpoint(Path(folder) / STATE_FILE, weights_only=False)
            files = place.writer.write_tree(
                Path(folder) / SHARDS_FOLDER, prefix=f"{SHARDS_FOLDER}/"
            )
        found: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(found, tuple(files))
