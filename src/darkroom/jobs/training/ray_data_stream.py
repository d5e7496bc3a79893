"""The other ingest: Ray Data decodes on spare CPUs and streams uint8 batches to the workers.

One item per Parquet row group is shuffled anew in every epoch; tasks read the row group through
the dataset's manifest (page checksums verified) and decode it; the rows are split evenly over
the ranks and shuffled once more within a buffer. What is left of an epoch after whole batches
is dropped, so that all ranks take as many.

Blocks arrive in the order in which tasks finish. No count of batches therefore names rows, and
the smallest thing that is the same in every run is a whole epoch: that is the grain of a resume.
A run that resumes starts the epoch anew that its checkpoint lies in, and sees the rows of that
epoch's beginning twice. The exact order, and seeking in it, is `stream.py`'s.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
import ray
import ray.data
from numpy.typing import NDArray

from darkroom.errors import ConfigError, DataError, IntegrityError
from darkroom.jobs.artifacts import Kind
from darkroom.jobs.artifacts.row_groups import RowGroup, RowGroupReader
from darkroom.jobs.capacity import most_cpus
from darkroom.jobs.pictures.decode import published_pixels
from darkroom.jobs.pictures.shape import ImageShape
from darkroom.jobs.ray_data import map_bounded
from darkroom.jobs.training.config import TrainingConfig, WorkersConfig
from darkroom.jobs.training.dataset import TrainingData
from darkroom.jobs.training.draws import row_key
from darkroom.jobs.training.goodput import Stopwatch
from darkroom.jobs.training.seeding import DATA_ORDER, derive_seed
from darkroom.jobs.training.training_stream import Batch, TrainingStream, make_batch
from darkroom.storage import open_artifact

logger = logging.getLogger(__name__)

TRAIN_SHARD = "train"
_SHUFFLE_BATCHES = 8
"""Batches in the buffer that rows of neighbouring row groups are mixed in."""


def decoded_dataset(
    data: TrainingData, config: TrainingConfig, columns: Sequence[str]
) -> ray.data.Dataset:
    """The training split: image uint8 (C, H, W), the other columns and `row`, in no order.

    Errors: ConfigError when the workers leave no CPU to decode on; Ray Data would wait for ever.
    """
    _require_spare_cpu(config.workers)
    items = [
        {"file": group.file, "group": group.index, "num_rows": group.num_rows}
        for group in data.dataset.row_groups("train", config.limit)
    ]
    # A block per row group: a task decodes one, and the order of blocks, drawn anew for each
    # epoch, is an order of row groups that no task had to move.
    refs = ray.data.from_items(items, override_num_blocks=len(items))
    decode: Any = partial(
        _decode_groups, uri=data.uri, digest=data.dataset.artifact.digest, columns=tuple(columns),
        shape=data.shape,
    )  # fmt: skip
    return map_bounded(refs.randomize_block_order(), decode, batch_size=1)


def _require_spare_cpu(workers: WorkersConfig) -> None:
    taken = workers.all_cpus
    cpus = most_cpus()
    if cpus < math.floor(taken) + 1:
        raise ConfigError(
            "data.ingest",
            "ray_data",
            f"{workers.num_workers} workers take {taken:g} of the cluster's {cpus:g} CPUs and "
            f"leave none to decode on",
            "add CPUs, lower workers.num_workers or workers.cpus_per_worker, or set "
            "data.ingest to exact",
        )


def _decode_groups(
    batch: dict[str, NDArray[Any]],
    *,
    uri: str,
    digest: str,
    columns: Sequence[str],
    shape: ImageShape,
) -> dict[str, Any]:
    """Row groups to rows; runs in Ray Data's tasks."""
    rows: list[dict[str, Any]] = []
    for file, group, num_rows in zip(batch["file"], batch["group"], batch["num_rows"], strict=True):
        wanted = RowGroup(str(file), int(group), int(num_rows))
        rows += _reader(uri, digest).read(wanted, ("id", *columns)).to_pylist()
    decoded: dict[str, Any] = {
        name: np.stack(
            [published_pixels(row[name], where=f"row {row['id']}", shape=shape) for row in rows]
        )
        if name == "image"
        else [row[name] for row in rows]
        for name in columns
    }
    return {**decoded, "row": np.array([row_key(row["id"]) for row in rows], dtype=np.int64)}


@lru_cache(maxsize=2)
def _reader(uri: str, digest: str) -> RowGroupReader:
    """The dataset's, once per process. Errors: IntegrityError when it is another one now."""
    artifact = open_artifact(uri, kind=Kind.DATASET)
    if artifact.digest != digest:
        raise IntegrityError(f"{uri}: was published anew since this run began")
    return RowGroupReader(artifact)


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
