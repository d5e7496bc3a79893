"""Ray Data's side of the other ingest: which rows, and their decoding on spare CPUs.

One item per Parquet row group is shuffled anew in every epoch; tasks read the row group through
the dataset's manifest (page checksums verified) and decode it. The tasks and Ray Train's actors
load this module: without torch, which they have no use for and which takes half a gigabyte each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
import ray
import ray.data
from numpy.typing import NDArray

from darkroom.errors import ConfigError, IntegrityError
from darkroom.jobs.artifacts import Kind
from darkroom.jobs.artifacts.row_groups import RowGroup, RowGroupReader
from darkroom.jobs.capacity import most_cpus
from darkroom.jobs.pictures.decode import published_pixels
from darkroom.jobs.pictures.shape import ImageShape
from darkroom.jobs.ray_data import map_bounded
from darkroom.jobs.training.config import TrainingConfig, WorkersConfig
from darkroom.jobs.training.dataset import TrainingData
from darkroom.jobs.training.seeding import row_key
from darkroom.storage import open_artifact

TRAIN_SHARD = "train"


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
