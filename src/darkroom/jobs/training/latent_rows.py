"""Random access to published latents, for training that encodes nothing.

As `stream.py` does with pictures: a row group is read when one of its rows is due, and the last few
are kept. The rows are numbered as those of the dataset are, less those that were not encoded, so a
run meets the same rows in the same order with encodings as with pictures. Which of a picture's
variants a batch holds is drawn for each (seed, epoch, row).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from darkroom.jobs.artifacts.latents import Latents
from darkroom.jobs.artifacts.row_groups import RowGroup
from darkroom.jobs.training.draws import RowDraws
from darkroom.jobs.training.kept_groups import KeptGroups
from darkroom.jobs.training.plan import Rows
from darkroom.jobs.training.seeding import row_key
from darkroom.jobs.training.training_stream import Batch

VARIANT = "variant"
"""The draw's name."""


class LatentRows:
    """Rows of some row groups of latents."""

    def __init__(
        self,
        latents: Latents,
        groups: Sequence[RowGroup],
        places: Rows,
        *,
        seed: int | None,
        groups_kept: int,
    ) -> None:
        """places: where row i lies, counted through over the groups, shape (N,).

        seed: of the draw of variants; None takes the picture itself always.
        """
        self._latents, self._places, self._seed = latents, places, seed
        self._kept = KeptGroups(latents.reader, groups, num_kept=groups_kept)

    def fetch(
        self,
        rows: NDArray[np.int64],
        *,
        epoch: NDArray[np.int64] | None = None,
        step: int = 0,
        first: int = 0,
    ) -> Batch:
        """The rows as one batch; each in its epoch, or all in the first.

        Errors: ValueError for none, or rows of different sizes: a plan takes one bucket at a time.
        """
        found = [self._latents.row(self._values(int(self._places[row]))) for row in rows]
        sizes = {(row.height, row.width) for row in found}
        if len(sizes) != 1:
            raise ValueError(f"a batch has pictures of {len(sizes)} sizes")
        keys = torch.tensor([row_key(row.id) for row in found])
        epochs = torch.from_numpy(np.zeros_like(rows) if epoch is None else epoch)
        chosen = self._variants(keys, epochs)
        batch: Batch = {
            "caption": [row.caption for row in found],
            "mean": _stack([row.mean[k] for row, k in zip(found, chosen, strict=True)]),
            "log_variance": _stack(
                [row.log_variance[k] for row, k in zip(found, chosen, strict=True)]
            ),
            "size": sizes.pop(),
            "row": keys,
            "epoch": epochs,
            "step": step,
            "first": first,
        }
        texts = [row.embedding for row in found if row.embedding is not None]
        if texts:
            batch["sequence"] = _stack([text.sequence for text in texts])
        if pooled := [text.pooled for text in texts if text.pooled is not None]:
            batch["pooled"] = _stack(pooled)
        return batch

    def _variants(self, keys: torch.Tensor, epochs: torch.Tensor) -> list[int]:
        if self._seed is None:
            return [0] * len(keys)
        draws = RowDraws(self._seed, keys, epochs)
        chosen: list[int] = draws.integers(VARIANT, self._latents.info.variants).tolist()
        return chosen

    def _values(self, place: int) -> Mapping[str, Any]:
        table, index = self._kept.find(place)
        (values,) = table.slice(index, 1).to_pylist()
        return dict(values)


def _stack(values: Sequence[NDArray[np.float32]]) -> torch.Tensor:
    return torch.from_numpy(np.stack(values))
