"""The other ingest: Ray Data decodes on spare CPUs and streams uint8 batches to the workers.

The rows (`ray_data_rows.py`) are split evenly over the ranks and shuffled once more within a
buffer. What is left of an epoch after whole batches is dropped, so that all ranks take as many.

Blocks arrive in the order in which tasks finish. No count of batches therefore names rows, and
the smallest thing that is the same in every run is a whole epoch: that is the grain of a resume.
A run that resumes starts the epoch anew that its checkpoint lies in, and sees the rows of that
epoch's beginning twice. The exact order, and seeking in it, is `stream.py`'s.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import ray
import ray.data
from numpy.typing import NDArray

from darkroom.errors import DataError
from darkroom.jobs.training.goodput import Stopwatch
from darkroom.jobs.training.seeding import DATA_ORDER, derive_seed
from darkroom.jobs.training.training_stream import Batch, TrainingStream, make_batch

logger = logging.getLogger(__name__)

_SHUFFLE_BATCHES = 8
"""Batches in the buffer that rows of neighbouring row groups are mixed in."""


class RayDataStream(TrainingStream):
    """One rank's shares of the batches, from its shard, epoch after epoch."""

    def __init__(
        self,
        shard: ray.data.DataIterator,
        *,
        seed: int,
        batch_size: int,
        batches_per_epoch: int,
        first: int = 0,
        num_steps: int,
        stopwatch: Stopwatch,
    ) -> None:
        """first: where this rank's rows stand in a batch."""
        super().__init__(num_steps=num_steps, stopwatch=stopwatch)
        self._shard = shard
        self._first = first
        self._seed = seed
        self._batch_size = batch_size
        self._batches_per_epoch = batches_per_epoch
        self._epoch = self._taken = 0

    def epoch_at(self, step: int) -> int:
        """The epoch of the batch that was handed out last, or the next one after its end."""
        return self._epoch + (self._taken == self._batches_per_epoch)

    def __iter__(self) -> Iterator[Batch]:
        batches = self._batches()
        for step in range(self.first_step, self._num_steps):
            with self._waiting():
                batch = next(batches)
            images, row = np.array(batch.pop("image")), np.array(batch.pop("row"))
            epoch = np.full(len(row), self._epoch, dtype=np.int64)
            yield make_batch(images, batch, row=row, epoch=epoch, step=step, first=self._first)

    def _batches(self) -> Iterator[dict[str, NDArray[Any]]]:
        self._epoch = self.first_epoch
        while True:
            self._taken = 0
            for batch in self._shard.iter_batches(
                batch_size=self._batch_size,
                batch_format="numpy",
                drop_last=True,
                prefetch_batches=2,
                local_shuffle_buffer_size=_SHUFFLE_BATCHES * self._batch_size,
                local_shuffle_seed=derive_seed(self._seed, DATA_ORDER, self._epoch) % 2**32,
            ):
                if self._taken == self._batches_per_epoch:
                    break
                self._taken += 1
                yield batch
            if not self._taken:
                raise DataError("data.ingest", "ray_data", "an epoch held no whole batch")
            self._epoch += 1
