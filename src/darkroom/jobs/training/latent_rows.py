"""Random access to published latents, for training that encodes nothing.

As `stream.py` does with pictures: a row group is read when one of its rows is due, and the last few
are kept. Which of a picture's variants a batch holds is drawn for each (seed, epoch, row).

Legend: B rows, C H W of latents, T tokens, D width of the text's embedding, P of its pooled one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from darkroom.jobs.artifacts.latents import Latents, LatentsRow
from darkroom.jobs.artifacts.row_groups import RowGroup
from darkroom.jobs.training.draws import RowDraws, row_key
from darkroom.jobs.training.kept_groups import KeptGroups
from darkroom.jobs.training.training_stream import StepRows

VARIANT = "variant"
"""The draw's name."""


class LatentBatch(StepRows, total=False):
    """One rank's rows of a step, pictures of one size."""

    mean: torch.Tensor
    """float32 (B, C, H, W): of the posterior, before the VAE's scale and shift."""
    log_variance: torch.Tensor
    """float32 (B, C, H, W)."""
    sequence: torch.Tensor
    """float32 (B, T, D)."""
    pooled: torch.Tensor
    """float32 (B, P); absent where the network takes none."""
    size: tuple[int, int]
    """Height and width of the pictures in pixels."""


class LatentRows:
    """The rows of some row groups, numbered through as a plan numbers them."""

    def __init__(
        self, latents: Latents, groups: Sequence[RowGroup], *, seed: int, groups_kept: int
    ) -> None:
        self._latents = latents
        self._kept = KeptGroups(latents.reader, groups, num_kept=groups_kept)
        self._seed = seed

    def fetch(
        self, rows: NDArray[np.int64], *, epoch: NDArray[np.int64], step: int = 0, first: int = 0
    ) -> LatentBatch:
        """The rows as one batch, each in its epoch.

        Errors: ValueError for none, or rows of different sizes: a plan takes one bucket at a time.
        """
        found = [self._latents.row(self._values(int(row))) for row in rows]
        sizes = {(row.height, row.width) for row in found}
        if len(sizes) != 1:
            raise ValueError(f"a batch has pictures of {len(sizes)} sizes")
        keys = torch.tensor([row_key(row.id) for row in found])
        epochs = torch.from_numpy(epoch)
        draws = RowDraws(self._seed, keys, epochs)
        chosen = draws.integers(VARIANT, self._latents.info.variants).tolist()
        batch: LatentBatch = {
            "mean": _stack([row.mean[k] for row, k in zip(found, chosen, strict=True)]),
            "log_variance": _stack(
                [row.log_variance[k] for row, k in zip(found, chosen, strict=True)]
            ),
            "sequence": _stack([row.text.sequence for row in found]),
            "size": sizes.pop(),
            "row": keys,
            "epoch": epochs,
            "step": step,
            "first": first,
        }
        if pooled := _pooled(found):
            batch["pooled"] = _stack(pooled)
        return batch

    def _values(self, row: int) -> Mapping[str, Any]:
        table, index = self._kept.find(row)
        (values,) = table.slice(index, 1).to_pylist()
        return dict(values)


def _pooled(rows: Sequence[LatentsRow]) -> list[NDArray[np.float32]]:
    return [row.text.pooled for row in rows if row.text.pooled is not None]


def _stack(values: Sequence[NDArray[np.float32]]) -> torch.Tensor:
    return torch.from_numpy(np.stack(values))
