"""Feeds one rank: reads the plan's rows from Parquet on S3, decodes, hands out uint8 batches.

Rows are read by row group through the dataset's manifest with page checksums verified, and a
row group is read only when one of its rows is due: a resume reads nothing that it skips. A
thread prepares the next batches while the step runs. When the decoded split fits in memory it
is kept, so that every image is decoded once.

Order and randomness are the plan's; what is done with a batch is the module's.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from darkroom.jobs.artifacts.row_groups import RowGroupReader
from darkroom.jobs.pictures.decode import published_pixels
from darkroom.jobs.pictures.shape import ImageShape
from darkroom.jobs.training.dataset import TrainingData
from darkroom.jobs.training.goodput import Stopwatch
from darkroom.jobs.training.kept_groups import KeptGroups
from darkroom.jobs.training.plan import RankPlan, Rows
from darkroom.jobs.training.seeding import row_key
from darkroom.jobs.training.training_stream import (
    Batch,
    BatchRows,
    TrainingStream,
    make_batch,
    no_rows,
    part,
)

_BATCHES_AHEAD = 2


class _Row(NamedTuple):
    """A row as a batch needs it."""

    pixels: NDArray[np.uint8]
    key: int
    others: tuple[Any, ...]
    """Its values in the other columns."""


class DataRows:
    """Random access to the decoded rows of a plan; `columns` as in a `Batch`."""

    def __init__(
        self,
        data: TrainingData,
        plan: RankPlan,
        columns: Sequence[str],
        *,
        sizes: NDArray[np.int64] | None = None,
        cache_bytes: int,
    ) -> None:
        """sizes: height and width of each row's picture, (N, 2), where the data have several."""
        self._data, self._sizes = data, sizes
        self._groups = KeptGroups(
            RowGroupReader(data.dataset.artifact),
            plan.groups,
            columns=("id", *columns),
            # A batch may straddle two windows, and each of them draws on all of its groups.
            num_kept=2 * plan.shuffle_window,
        )
        self._columns = [name for name in columns if name != "image"]
        if sizes is None:
            num_pixels = plan.num_rows * data.shape.height * data.shape.width
        else:
            num_pixels = int(np.dot(sizes[:, 0], sizes[:, 1]))
        self._keeps = num_pixels * data.channels <= cache_bytes
        self._kept: dict[int, _Row] = {}

    def fetch(
        self,
        rows: NDArray[np.int64],
        *,
        epoch: NDArray[np.int64] | None = None,
        step: int = 0,
        first: int = 0,
    ) -> Batch:
        """The rows as one batch; each in its epoch, or all in the first."""
        found = [self._row(row) for row in rows.tolist()]
        values = zip(*(row.others for row in found), strict=True)
        return make_batch(
            np.stack([row.pixels for row in found]),
            dict(zip(self._columns, map(list, values), strict=True)),
            row=np.array([row.key for row in found], dtype=np.int64),
            epoch=np.zeros_like(rows) if epoch is None else epoch,
            step=step,
            first=first,
        )

    def _row(self, row: int) -> _Row:
        found = self._kept.get(row)
        if found is None:
            found = self._read(row)
            if self._keeps:
                self._kept[row] = found
        return found

    def _shape_of(self, row: int) -> ImageShape:
        if self._sizes is None:
            return self._data.shape
        height, width = self._sizes[row].tolist()
        return ImageShape(height, width, self._data.channels)

    def _read(self, row: int) -> _Row:
        table, index = self._groups.find(row)
        encoded, row_id = table["image"][index].as_py(), table["id"][index].as_py()
        pixels = published_pixels(encoded, where=f"row {row_id}", shape=self._shape_of(row))
        # Contiguous, else a batch has the strides of HWC.
        return _Row(
            np.ascontiguousarray(pixels),
            row_key(row_id),
            tuple(table[name][index].as_py() for name in self._columns),
        )


class BatchStream(TrainingStream):
    """The exact stream: what a step holds is the plan's, wherever a run starts."""

    def __init__(
        self,
        rows: BatchRows,
        plan: RankPlan,
        *,
        num_steps: int,
        largest: Callable[[int], Rows | None] = lambda _: None,
        stopwatch: Stopwatch | None = None,
    ) -> None:
        """largest: rows that take the most memory, as `RowSource.largest` has them."""
        super().__init__(num_steps=num_steps, stopwatch=stopwatch)
        self._rows = rows
        self._plan = plan
        self._largest = largest

    def largest_batch(self, at_once: int) -> Batch:
        """Of the first step, where all are alike."""
        step, rows = self.first_step, self._largest(at_once)
        if rows is None:
            rows, epoch = self._plan.rows(step), self._plan.epochs(step)
            first = self._plan.first(step)
            batch = self._rows.fetch(rows, epoch=epoch, step=step, first=first)
            return part(batch, 0, 2 * at_once)
        epoch = np.full(len(rows), self.epoch_at(step), dtype=np.int64)
        return self._rows.fetch(rows, epoch=epoch, step=step)

    def epoch_at(self, step: int) -> int:
        """The epoch that a step starts in."""
        return self._plan.epoch_of(step)

    def __iter__(self) -> Iterator[Batch]:
        ahead: queue.Queue[Batch | BaseException | None] = queue.Queue(maxsize=_BATCHES_AHEAD)
        stop = threading.Event()
        thread = threading.Thread(
            target=self._produce, args=(ahead, stop), name="batch-stream", daemon=True
        )
        thread.start()
        try:
            while True:
                with self._waiting():
                    item = ahead.get()
                if item is None:
                    return
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            stop.set()
            thread.join(timeout=60)

    def _produce(
        self, ahead: queue.Queue[Batch | BaseException | None], stop: threading.Event
    ) -> None:
        def put(item: Batch | BaseException | None) -> None:
            while not stop.is_set():
                with suppress(queue.Full):
                    ahead.put(item, timeout=0.2)
                    return

        try:
            for step in range(self.first_step, self._num_steps):
                if stop.is_set():
                    return
                rows, first = self._plan.rows(step), self._plan.first(step)
                if not len(rows):
                    put(no_rows(step=step, first=first))
                    continue
                epoch = self._plan.epochs(step)
                put(self._rows.fetch(rows, epoch=epoch, step=step, first=first))
            put(None)
        except BaseException as error:  # noqa: BLE001 - the consumer raises it in its own thread
            put(error)
