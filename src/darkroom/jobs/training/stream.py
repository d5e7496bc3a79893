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
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darkroom.jobs.artifacts.row_groups import RowGroupReader
from darkroom.jobs.pictures.decode import published_pixels
from darkroom.jobs.pictures.shape import ImageShape
from darkroom.jobs.training.dataset import TrainingData
from darkroom.jobs.training.goodput import Stopwatch
from darkroom.jobs.training.kept_groups import KeptGroups
from darkroom.jobs.training.plan import RankPlan
from darkroom.jobs.training.seeding import row_key
from darkroom.jobs.training.training_stream import (
    Batch,
    BatchRows,
    TrainingStream,
    make_batch,
    no_rows,
)

_BATCHES_AHEAD = 2


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
        if sizes is None:
            sizes = np.broadcast_to((data.shape.height, data.shape.width), (plan.num_rows, 2))
        self._sizes, self._channels = sizes, data.channels
        self._groups = KeptGroups(
            RowGroupReader(data.dataset.artifact),
            plan.groups,
            columns=("id", *columns),
            # A batch may straddle two windows, and each of them draws on all of its groups.
            num_kept=2 * plan.shuffle_window,
        )
        self._others: dict[str, list[Any]] = {
            name: [None] * plan.num_rows for name in columns if name != "image"
        }
        self._keys = np.zeros(plan.num_rows, dtype=np.int64)
        self._keeps = int(np.sum(sizes[:, 0] * sizes[:, 1])) * data.channels <= cache_bytes
        self._decoded: dict[int, NDArray[np.uint8]] = {}

    def fetch(
        self,
        rows: NDArray[np.int64],
        *,
        epoch: NDArray[np.int64] | None = None,
        step: int = 0,
        first: int = 0,
    ) -> Batch:
        """The rows as one batch; each in its epoch, or all in the first."""
        images = np.stack([self._picture(row) for row in rows.tolist()])
        others = {name: [column[row] for row in rows] for name, column in self._others.items()}
        return make_batch(
            images,
            others,
            row=self._keys[rows],
            epoch=np.zeros_like(rows) if epoch is None else epoch,
            step=step,
            first=first,
        )

    def _picture(self, row: int) -> NDArray[np.uint8]:
        found = self._decoded.get(row)
        if found is None:
            found = self._read(row)
            if self._keeps:
                self._decoded[row] = found
        return found

    def _shape_of(self, row: int) -> ImageShape:
        height, width = self._sizes[row].tolist()
        return ImageShape(height, width, self._channels)

    def _read(self, row: int) -> NDArray[np.uint8]:
        table, index = self._groups.find(row)
        for name, column in self._others.items():
            column[row] = table[name][index].as_py()
        encoded, row_id = table["image"][index].as_py(), table["id"][index].as_py()
        self._keys[row] = row_key(row_id)
        pixels = published_pixels(encoded, where=f"row {row_id}", shape=self._shape_of(row))
        return np.ascontiguousarray(pixels)  # else a batch has the strides of HWC


class BatchStream(TrainingStream):
    """The exact stream: what a step holds is the plan's, wherever a run starts."""

    def __init__(
        self,
        rows: BatchRows,
        plan: RankPlan,
        *,
        num_steps: int,
        stopwatch: Stopwatch | None = None,
    ) -> None:
        super().__init__(num_steps=num_steps, stopwatch=stopwatch)
        self._rows = rows
        self._plan = plan

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
