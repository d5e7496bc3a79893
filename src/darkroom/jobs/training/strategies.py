"""How Lightning runs a rank: alone, beside others that share out rows, or with shared-out networks.

None wraps the module: `gradients.py` sums over ranks, or FSDP2 does inside the networks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ray.train.lightning
import ray.train.torch
import torch
from lightning.pytorch.strategies import SingleDeviceStrategy, Strategy

from darkroom.jobs.training.checkpoint_state import read_state
from darkroom.jobs.training.shard_files import write_shards
from darkroom.jobs.training.sharding import Sharding


class RowShares(ray.train.lightning.RayDDPStrategy):  # type: ignore[misc] # untyped, as Ray has it
    """Ranks that share out rows; each holds the whole network."""

    def configure_ddp(self) -> None:
        """Leave the module as it is."""


class NetworkShares(RowShares):
    """Ranks that share out rows, and the networks too."""

    def __init__(self, sharding: Sharding) -> None:
        super().__init__()
        self._sharding = sharding

    def save_checkpoint(
        self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None
    ) -> None:
        """Every rank writes its shares beside the file, rank 0 the file."""
        rest = write_shards(checkpoint, Path(filepath).parent)
        super().save_checkpoint(rest, filepath, storage_options)

    def load_checkpoint(self, checkpoint_path: Any, weights_only: Any = None) -> Any:
        """This rank's shares of the state, whichever ranks wrote it."""
        return read_state(Path(checkpoint_path), empty=self._sharding.empty)


def strategy_of(world: int, sharding: Sharding | None) -> Strategy:
    """What suits so many ranks."""
    if world == 1:
        return SingleDeviceStrategy(device=ray.train.torch.get_device())
    strategy: Strategy = RowShares() if sharding is None else NetworkShares(sharding)
    return strategy


def sharding_of(world: int, sharding: str, precision: str) -> Sharding | None:
    """How the networks are shared out; None where every rank has all, as one alone must."""
    if sharding == "none" or world == 1:
        return None
    device: torch.device = ray.train.torch.get_device()
    return Sharding(device, mixed=precision == "bfloat16")
