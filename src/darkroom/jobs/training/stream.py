"""Feeds one rank: reads the plan's rows from Parquet on S3, decodes, hands out uint8 batches.

Rows are read by row group through the dataset's manifest with page checksums verified, and a
row group is read only when one of its rows is due: a resume reads nothing that it skips. A
thread prepares the next batches while the step runs. When the decoded split fits in memory it
is kept, so that every image is decoded once.

Order and randomness are the plan's; what is done with a batch is the module's.
"""

from __future__ import annotations

import io
import queue
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from PIL import Image

from darkroom.errors import DataError
from darkroom.jobs.training.ledger import Stopwatch
from darkroom.jobs.training.plan import DataPlan, RowGroup
from darkroom.jobs.training.training_stream import Batch, TrainingStream
from darkroom.storage import Artifact

_BATCHES_AHEAD = 2
NO_LABEL = -1


@dataclass(frozen=True, slots=True)
class ImageShape:
    """Height, width and channels of every image of the dataset."""

    height: int
    width: int
    channels: int

    @property
    def num_bytes(self) -> int:
        """Bytes of one decoded uint8 image."""
        return self.height * self.width * self.channels


def row_groups(dataset: Artifact, split: str, limit: int | None = None) -> list[RowGroup]:
    """The split's row groups as the manifest lists them, at most `limit` rows of them."""
    groups: list[RowGroup] = []
    left = limit
    for entry in dataset.entries(f"data/{split}/"):
        for index, num_rows in enumerate(entry.metadata["row_groups"]):
            size = int(num_rows) if left is None else min(int(num_rows), left)
            if size:
                groups.append(RowGroup(entry.name, index, size))
            left = None if left is None else left - size
    return groups


class ImageRows:
    """Random access to the decoded images and labels of a list of row groups."""

    def __init__(
        self, dataset: Artifact, plan: DataPlan, shape: ImageShape, *, cache_bytes: int
    ) -> None:
        self._dataset = dataset
        self._plan = plan
        self._shape = shape
        self._files: dict[str, Any] = {}
        self._tables: OrderedDict[int, pa.Table] = OrderedDict()
        # A batch may straddle two windows, and each of them draws on all of its groups.
        self._groups_kept = 2 * plan.shuffle_window
        self._labels = np.full(plan.num_rows, NO_LABEL, dtype=np.int64)
        self._decoded: NDArray[np.uint8] | None = None
        self._known = np.zeros(plan.num_rows, dtype=bool)
        if plan.num_rows * shape.num_bytes <= cache_bytes:
            self._decoded = np.empty(
                (plan.num_rows, shape.channels, shape.height, shape.width), dtype=np.uint8
            )

    def fetch(self, rows: NDArray[np.int64], micro_step: int = 0) -> Batch:
        """The rows as one batch; the label is -1 where there is none."""
        if self._decoded is not None:
            for row in rows[~self._known[rows]]:
                self._decoded[row] = self._read(int(row))
                self._known[row] = True
            images = self._decoded[rows]
        else:
            images = np.stack([self._read(int(row)) for row in rows])
        return {
            "image": torch.from_numpy(images),
            "label": torch.from_numpy(self._labels[rows]),
            "micro_step": micro_step,
        }

    def _read(self, row: int) -> NDArray[np.uint8]:
        number = int(np.searchsorted(self._plan.starts, row, side="right")) - 1
        table = self._table(number)
        index = row - int(self._plan.starts[number])
        label = table["label"][index].as_py()
        self._labels[row] = NO_LABEL if label is None else label
        encoded, row_id = table["image"][index].as_py(), table["id"][index].as_py()
        return decode_image(encoded, row_id, self._shape)

    def _table(self, number: int) -> pa.Table:
        if number not in self._tables:
            group = self._plan.groups[number]
            if group.file not in self._files:
                self._files[group.file] = self._dataset.parquet_file(group.file)
            self._tables[number] = self._files[group.file].read_row_group(
                group.index, columns=["id", "image", "label"]
            )
            if len(self._tables) > self._groups_kept:
                self._tables.popitem(last=False)
        self._tables.move_to_end(number)
        return self._tables[number]


def decode_image(encoded: bytes, row_id: str, shape: ImageShape) -> NDArray[np.uint8]:
    """One encoded image as uint8 (C, H, W). Errors: DataError when it has another size."""
    with Image.open(io.BytesIO(encoded), formats=["PNG", "JPEG", "WEBP"]) as image:
        pixels = np.asarray(image.convert("L" if shape.channels == 1 else "RGB"))
    if pixels.shape[:2] != (shape.height, shape.width):
        raise DataError(
            f"row {row_id}",
            f"{pixels.shape[0]}x{pixels.shape[1]}",
            f"the dataset says {shape.height}x{shape.width}",
            "prepare it again with image_size set",
        )
    return pixels.reshape(shape.height, shape.width, shape.channels).transpose(2, 0, 1)


class BatchStream(TrainingStream):
    """The exact stream: what a micro-step holds is the plan's, wherever a run starts."""

    def __init__(
        self,
        rows: ImageRows,
        plan: DataPlan,
        *,
        num_micro_steps: int,
        stopwatch: Stopwatch | None = None,
    ) -> None:
        super().__init__(num_micro_steps=num_micro_steps, stopwatch=stopwatch)
        self._rows = rows
        self._plan = plan

    def epoch_at(self, micro_step: int) -> int:
        """The epoch that a micro-batch starts in."""
        return self._plan.epoch_of(micro_step)

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
            for micro_step in range(self.first_micro_step, self._num_micro_steps):
                if stop.is_set():
                    return
                put(self._rows.fetch(self._plan.rows(micro_step), micro_step))
            put(None)
        except BaseException as error:  # noqa: BLE001 - the consumer raises it in its own thread
            put(error)
