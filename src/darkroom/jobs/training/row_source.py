"""Where the rows of a split come from, and in which order: pictures of one size or in buckets.

A source is light, and travels to the workers. Its plan orders the rows (`plan.py`, or
`bucket_plan.py` where pictures differ in size), its reader fetches them. `latent_rows.py` has the
source whose rows are cached encodings, in the very same order.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from darkroom.jobs.artifacts.dataset import Dataset
from darkroom.jobs.artifacts.row_groups import RowGroup
from darkroom.jobs.pictures.config import Split
from darkroom.jobs.training.bucket_plan import BucketPlan, BucketShare
from darkroom.jobs.training.dataset import TrainingData
from darkroom.jobs.training.plan import Batching, DataPlan, Order, RankPlan, Rows

if TYPE_CHECKING:
    from darkroom.jobs.training.training_stream import BatchRows

Sizes = NDArray[np.int64]
"""Height and width of each row's picture, (N, 2)."""


@dataclass(frozen=True)
class RowSource(ABC):
    """A split's rows, numbered through over its row groups."""

    groups: Sequence[RowGroup]
    """Those of the dataset, each with as many rows as are trained on."""

    @abstractmethod
    def sizes(self) -> Sizes | None:
        """Of each row; None where all pictures have one size."""

    @abstractmethod
    def reader(self, plan: RankPlan, *, seed: int | None, cache_bytes: int) -> BatchRows:
        """What fetches the rows that a plan names.

        seed: of what is drawn when a row is read; None draws nothing, as validation has it.
        cache_bytes: rows that take no more together are kept in memory.
        """

    def plan(
        self, batching: Batching, *, seed: int, shuffle_window: int, order: Order = "drawn"
    ) -> RankPlan:
        """The order of the rows in training: where sizes differ, one bucket for each step."""
        sizes = self.sizes()
        if sizes is None:
            return DataPlan(
                self.groups, seed=seed, shuffle_window=shuffle_window, batching=batching,
                order=order,
            )  # fmt: skip
        plan = BucketPlan(
            self.groups, _numbered(sizes), batch_size=batching.batch_size, seed=seed,
            shuffle_window=shuffle_window, order=order,
        )  # fmt: skip
        return BucketShare(plan, batching)

    def largest(self, batching: Batching, at_once: int) -> Rows | None:
        """Where sizes differ: rows for two passes of `at_once` that take the most memory.

        They are of the bucket whose pass has the most pixels on any rank. It is one row, repeated,
        so that little is read.
        """
        sizes = self.sizes()
        if sizes is None:
            return None
        buckets, firsts, counts = np.unique(sizes, axis=0, return_index=True, return_counts=True)
        shares = -(-np.minimum(counts, batching.batch_size) // batching.num_workers)
        pixels = np.minimum(shares, at_once) * buckets.prod(axis=1)
        fullest = int(np.lexsort((shares, pixels))[-1])  # of equals, the one of most passes
        num_rows = min(2 * at_once, int(shares[fullest]))
        return np.full(num_rows, firsts[fullest], dtype=np.int64)

    def in_order(self, batch_size: int) -> tuple[RankPlan, list[Rows]]:
        """All rows once, as validation meets them: in batches of one size each."""
        plan = DataPlan(self.groups, seed=0, shuffle_window=1, batching=Batching(1))
        rows, sizes = np.arange(plan.num_rows, dtype=np.int64), self.sizes()
        numbers = np.zeros_like(rows) if sizes is None else _numbered(sizes)
        batches: list[Rows] = []
        for number in np.unique(numbers):
            mine = rows[numbers == number]
            batches += [mine[at : at + batch_size] for at in range(0, len(mine), batch_size)]
        return plan, batches


def _numbered(sizes: Sizes) -> NDArray[np.int64]:
    """The number of each row's bucket."""
    numbers: NDArray[np.int64] = np.unique(sizes, axis=0, return_inverse=True)[1].reshape(-1)
    return numbers


@dataclass(frozen=True)
class PictureRowSource(RowSource):
    """Pictures of the dataset itself, decoded when they are due."""

    data: TrainingData
    split: Split
    limit: int | None
    columns: Sequence[str]

    @classmethod
    def of(
        cls, data: TrainingData, split: Split, limit: int | None, *, columns: Sequence[str]
    ) -> PictureRowSource:
        """limit: the first so many rows."""
        return cls(data.dataset.row_groups(split, limit), data, split, limit, columns)

    def sizes(self) -> Sizes | None:
        """Read from the files, once, where there are several."""
        return self._sizes

    @cached_property
    def _sizes(self) -> Sizes | None:
        if self.data.shape_of_all is not None:
            return None
        dataset = self.data.dataset
        # Of its own: an opened reader cannot travel to the workers.
        return Dataset(dataset.artifact, dataset.info).sizes(self.split, self.limit)

    def reader(self, plan: RankPlan, *, seed: int | None, cache_bytes: int) -> BatchRows:
        """Decoded pixels."""
        from darkroom.jobs.training.stream import DataRows

        return DataRows(self.data, plan, self.columns, sizes=self.sizes(), cache_bytes=cache_bytes)
