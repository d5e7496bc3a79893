"""Which rows a rank sees at a step: a pure function, so a resume seeks instead of reading.

An epoch orders the row groups by (seed, epoch), cuts them into windows of
`shuffle_window` groups, and permutes the rows of each window by (seed, epoch, window). Epochs
follow each other without a seam: no row is dropped, and a batch may span two epochs. Each global
step takes the next rows in that order, rank r of W the r-th of W slices, so the union over ranks
is the same for every W. Where W does not divide the batch, the first ranks have a row more.

The order of the groups is drawn and held, or computed place by place and not held (`Order`): of
a computed one only the first row of each window stays in memory.

Nothing is read here; `stream.py` does that.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from darkroom.jobs.artifacts.row_groups import RowGroup, starts_of
from darkroom.jobs.training.bijection import NUM_ROUNDS, Bijection
from darkroom.jobs.training.seeding import COMPUTED_ORDER, DATA_ORDER, generator, words

# Each window is a permutation of some thousand rows; a batch touches one or two.
_WINDOWS_KEPT = 4
_EPOCHS_KEPT = 2
# Groups whose sizes are added up at a time: the processor's cache holds them.
_GROUPS_AT_ONCE = 1 << 15

Rows = NDArray[np.int64]
Order = Literal["drawn", "computed"]
"""How an epoch's order of row groups comes about; docs/decisions/0019."""


@dataclass(frozen=True, slots=True)
class Batching:
    """How a global step's rows are shared out: how many, over how many ranks, and which is this."""

    batch_size: int
    num_workers: int = 1
    rank: int = 0

    @property
    def first(self) -> int:
        """Where this rank's rows begin among the step's."""
        whole, left = divmod(self.batch_size, self.num_workers)
        return self.rank * whole + min(self.rank, left)

    @property
    def size(self) -> int:
        """How many rows are this rank's."""
        whole, left = divmod(self.batch_size, self.num_workers)
        return whole + (self.rank < left)


class RankPlan(Protocol):
    """Which rows one rank sees at a step, and how many row groups it draws on meanwhile."""

    groups: Sequence[RowGroup]
    shuffle_window: int

    @property
    def num_rows(self) -> int:
        """Of all groups."""

    def epoch_of(self, step: int) -> int:
        """The epoch that the step starts in."""

    def rows(self, step: int) -> Rows:
        """Global row numbers of this rank's rows, in order."""

    def epochs(self, step: int) -> Rows:
        """The epoch that each of them is met in."""

    def first(self, step: int) -> int:
        """Where they begin among the step's rows of all ranks."""


@dataclass(frozen=True, slots=True)
class _EpochOrder:
    """An epoch's order of row groups, and where its windows begin."""

    groups: Callable[[int, int], Rows]
    """Those from one place of the order up to another."""
    bounds: Rows
    """The first row of each window, counted in the epoch's order."""


class DataPlan:
    """The order of rows over epochs, and one rank's slice of each step.

    Rows are numbered globally: row group g starts at `starts[g]` in the order given.
    """

    def __init__(
        self,
        groups: Sequence[RowGroup],
        *,
        seed: int,
        shuffle_window: int,
        batching: Batching,
        order: Order = "drawn",
    ) -> None:
        self.groups = groups
        self.batching = batching
        self._seed, self._kind = seed, order
        self.shuffle_window = shuffle_window
        self.starts = starts_of(groups)
        self.num_rows = int(self.starts[-1])
        self._windows: OrderedDict[tuple[int, int], Rows] = OrderedDict()
        self._epochs: OrderedDict[int, _EpochOrder] = OrderedDict()

    def epoch_of(self, step: int) -> int:
        """The epoch that the step starts in."""
        return step * self.batching.batch_size // self.num_rows

    def rows(self, step: int) -> Rows:
        """Global row numbers of this rank's rows, shape (batching.size,)."""
        size = self.batching.size
        position = self._first_row(step)
        taken: list[Rows] = [np.empty(0, dtype=np.int64)]
        while size:
            epoch, offset = divmod(position, self.num_rows)
            part = self._take(epoch, offset, size)
            taken.append(part)
            position += len(part)
            size -= len(part)
        return np.concatenate(taken)

    def epochs(self, step: int) -> Rows:
        """The epoch that each of `rows` is met in, shape (batching.size,)."""
        first = self._first_row(step)
        return np.arange(first, first + self.batching.size, dtype=np.int64) // self.num_rows

    def first(self, step: int) -> int:
        """Where this rank's rows begin among the step's."""
        return self.batching.first

    def _first_row(self, step: int) -> int:
        return step * self.batching.batch_size + self.batching.first

    def _take(self, epoch: int, offset: int, size: int) -> Rows:
        """At most `size` rows from `offset` of the epoch, within one window."""
        order = self._epoch(epoch)
        window = int(np.searchsorted(order.bounds, offset, side="right")) - 1
        rows = self._window(epoch, window, order)
        start = offset - int(order.bounds[window])
        return rows[start : start + size]

    def _epoch(self, epoch: int) -> _EpochOrder:
        if epoch not in self._epochs:
            groups = self._order(epoch)
            self._epochs[epoch] = _EpochOrder(groups, self._bounds(groups))
            if len(self._epochs) > _EPOCHS_KEPT:
                self._epochs.popitem(last=False)
        return self._epochs[epoch]

    def _order(self, epoch: int) -> Callable[[int, int], Rows]:
        if self._kind == "drawn":
            drawn = generator(self._seed, DATA_ORDER, epoch).permutation(len(self.groups))
            return lambda first, stop: drawn[first:stop]
        keys = words(NUM_ROUNDS, self._seed, COMPUTED_ORDER, epoch)
        computed = Bijection(len(self.groups), keys)
        return lambda first, stop: computed.at(np.arange(first, stop, dtype=np.int64))

    def _bounds(self, groups: Callable[[int, int], Rows]) -> Rows:
        """The first row of each window, from the sizes of the groups in order."""
        window, num_groups = self.shuffle_window, len(self.groups)
        at_once = window * max(1, _GROUPS_AT_ONCE // window)
        sums: list[Rows] = []
        for first in range(0, num_groups, at_once):
            chosen = groups(first, min(first + at_once, num_groups))
            sizes = self.starts[chosen + 1] - self.starts[chosen]
            sums.append(np.add.reduceat(sizes, np.arange(0, len(sizes), window)))
        ends = np.cumsum(np.concatenate(sums))
        return np.concatenate([[0], ends[:-1]])

    def _window(self, epoch: int, window: int, order: _EpochOrder) -> Rows:
        key = (epoch, window)
        if key not in self._windows:
            first = window * self.shuffle_window
            chosen = order.groups(first, min(first + self.shuffle_window, len(self.groups)))
            rows = np.concatenate(
                [np.arange(self.starts[g], self.starts[g + 1], dtype=np.int64) for g in chosen]
            )
            generator(self._seed, DATA_ORDER, epoch, window + 1).shuffle(rows)
            self._windows[key] = rows
            if len(self._windows) > _WINDOWS_KEPT:
                self._windows.popitem(last=False)
        return self._windows[key]
