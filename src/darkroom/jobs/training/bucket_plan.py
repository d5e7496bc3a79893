"""Which rows a global step takes where pictures differ in size: one bucket for each step.

The rows of an epoch come in the order of `plan.py`. Each bucket gathers its rows in that order, and
a step is due when its bucket holds a batch: so buckets alternate as the data does, and what waits
is never more than a batch of each bucket. What is left of the buckets at the end of the epoch makes
short steps: every row is met once per epoch, also the one that is alone in its bucket, and no
batch spans two epochs.

All of it is a pure function of (rows, seed, step), whatever the number of ranks. Nothing is read.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from darkroom.jobs.artifacts.row_groups import RowGroup, starts_of
from darkroom.jobs.training.plan import Batching, DataPlan, Order, Rows

_EPOCHS_KEPT = 2


@dataclass(frozen=True, slots=True)
class _Epoch:
    """The steps of an epoch: step i takes `rows[bounds[i]:bounds[i + 1]]`."""

    rows: Rows
    bounds: NDArray[np.int64]


class BucketPlan:
    """The order of rows over epochs, in global steps of one bucket each.

    Rows are numbered as in `DataPlan`.
    """

    def __init__(
        self,
        groups: Sequence[RowGroup],
        buckets: Sequence[int] | NDArray[np.int64],
        *,
        batch_size: int,
        seed: int,
        shuffle_window: int,
        order: Order = "drawn",
    ) -> None:
        """buckets: of each row, shape (num_rows,). batch_size: rows of a step, on all ranks."""
        num_rows = int(starts_of(groups)[-1])
        self.groups = groups
        self.shuffle_window = shuffle_window
        # A step as long as the data is an epoch.
        self._order = DataPlan(
            groups, seed=seed, shuffle_window=shuffle_window, batching=Batching(num_rows),
            order=order,
        )  # fmt: skip
        self._buckets = np.asarray(buckets, dtype=np.int64)
        if self._buckets.shape != (num_rows,):
            raise ValueError(f"{num_rows} rows have the buckets {self._buckets.shape}")
        self.batch_size = batch_size
        self.num_rows = num_rows
        counts = np.unique(self._buckets, return_counts=True)[1]
        self.steps_per_epoch = int(np.sum(-(-counts // batch_size)))
        """Equal for every epoch."""
        self._epochs: OrderedDict[int, _Epoch] = OrderedDict()

    def epoch_of(self, step: int) -> int:
        """The epoch that all rows of the step are met in."""
        return step // self.steps_per_epoch

    def bucket_of(self, step: int) -> int:
        """The bucket of all rows of the step."""
        return int(self._buckets[self.rows(step)[0]])

    def rows(self, step: int) -> Rows:
        """Global row numbers of the step, on all ranks: shape (1 to batch_size,)."""
        epoch, index = divmod(step, self.steps_per_epoch)
        steps = self._epoch(epoch)
        return steps.rows[steps.bounds[index] : steps.bounds[index + 1]]

    def share(self, step: int, *, rank: int, num_ranks: int) -> Rows:
        """A rank's rows of the step, in order; the first ranks have one more, the last may none."""
        return np.array_split(self.rows(step), num_ranks)[rank]

    def weight(self, step: int) -> float:
        """What the step's mean loss counts: 1, less for a short one, so that rows weigh alike."""
        return len(self.rows(step)) / self.batch_size

    def _epoch(self, epoch: int) -> _Epoch:
        if epoch not in self._epochs:
            self._epochs[epoch] = self._cut(self._order.rows(epoch))
            if len(self._epochs) > _EPOCHS_KEPT:
                self._epochs.popitem(last=False)
        return self._epochs[epoch]

    def _cut(self, order: Rows) -> _Epoch:
        """An epoch's rows in order, as steps."""
        steps: list[tuple[bool, int, Rows]] = []
        buckets = self._buckets[order]
        for bucket in np.unique(buckets):
            places = np.flatnonzero(buckets == bucket)
            for start in range(0, len(places), self.batch_size):
                mine = places[start : start + self.batch_size]
                steps.append((len(mine) < self.batch_size, int(mine[-1]), order[mine]))
        steps.sort(key=lambda step: step[:2])
        sizes = [len(rows) for *_, rows in steps]
        return _Epoch(
            np.concatenate([rows for *_, rows in steps]),
            np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]),
        )


class BucketShare:
    """One rank's rows of a `BucketPlan`, as `plan.RankPlan` has them."""

    def __init__(self, plan: BucketPlan, batching: Batching) -> None:
        self._plan, self._batching = plan, batching
        self.groups, self.shuffle_window = plan.groups, plan.shuffle_window
        self.num_rows = plan.num_rows

    def epoch_of(self, step: int) -> int:
        """The epoch of all rows of the step."""
        return self._plan.epoch_of(step)

    def rows(self, step: int) -> Rows:
        """Global row numbers of this rank's rows; none, where a short step has too few."""
        mine = self._batching
        return self._plan.share(step, rank=mine.rank, num_ranks=mine.num_workers)

    def epochs(self, step: int) -> Rows:
        """The step's epoch for each of them."""
        return np.full(len(self.rows(step)), self.epoch_of(step), dtype=np.int64)

    def first(self, step: int) -> int:
        """Where they begin among the step's rows."""
        size, mine = len(self._plan.rows(step)), self._batching
        return Batching(size, mine.num_workers, mine.rank).first
