"""`data.ingest: ray_data` gives every row of an epoch once, and refuses what would hang.

A run that is stopped and resumed: `make proof`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import numpy as np
import pytest
import ray
from tests.helpers.tiny_artifacts import NUM_TRAIN, publish_digits, split_digits
from tests.helpers.training import train_config

from darkroom.errors import ConfigError
from darkroom.jobs.training.dataset import TrainingData
from darkroom.jobs.training.goodput import Stopwatch
from darkroom.jobs.training.ray_data_rows import decoded_dataset
from darkroom.jobs.training.ray_data_stream import RayDataStream
from darkroom.jobs.training.seeding import row_key
from darkroom.storage import open_artifact

COLUMNS = ("image", "label")


@pytest.fixture(scope="module")
def data(s3_module_uri: str) -> str:
    uri = f"{s3_module_uri}/digits-ray-data"
    publish_digits(uri)
    return uri


def fingerprint(image: Any, label: Any) -> tuple[str, int]:
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest(), int(label)


def batches_of(stream: RayDataStream) -> list[tuple[int, Counter[tuple[str, int]]]]:
    """Of every batch: its epoch, and what is in it."""
    found = []
    for batch in stream:
        assert batch["image"].dtype.is_floating_point is False
        keys = {row_key(f"train-{number:04d}") for number in range(NUM_TRAIN)}
        assert len(set(batch["row"].tolist()) & keys) == len(batch["image"])
        assert set(batch["epoch"].tolist()) == {stream._epoch}
        pairs = zip(batch["image"].numpy(), batch["label"].numpy(), strict=True)
        found.append((stream.epoch_at(0), Counter(fingerprint(*pair) for pair in pairs)))
    return found


def test_an_epoch_holds_every_row_once_in_another_order_each_time(
    data: str, ray_local: None
) -> None:
    config = train_config(data, "unused")
    decoded = decoded_dataset(TrainingData.of(open_artifact(data), config), config, COLUMNS)
    (shard,) = decoded.streaming_split(1, equal=True)
    per_epoch = NUM_TRAIN // 32
    stream = RayDataStream(
        shard, seed=0, batch_size=32, batches_per_epoch=per_epoch,
        num_steps=2 * per_epoch, stopwatch=Stopwatch(),
    )  # fmt: skip
    stream.first_epoch = 3
    batches = batches_of(stream)
    assert [epoch for epoch, _ in batches] == [3] * (per_epoch - 1) + [4] * per_epoch + [5]
    images, labels = split_digits("train")
    real = Counter(fingerprint(*pair) for pair in zip(images, labels, strict=True))
    for first in (0, per_epoch):
        seen = sum((rows for _, rows in batches[first : first + per_epoch]), Counter())
        assert not seen - real, "nothing that is not there, nothing twice"
        assert seen.total() == per_epoch * 32 > NUM_TRAIN - 32
    assert batches[0][1] != batches[per_epoch][1]
    assert stream.wait_seconds > 0


def test_workers_that_leave_no_cpu_are_refused(data: str, ray_local: None) -> None:
    cpus = int(ray.cluster_resources()["CPU"])  # type: ignore[no-untyped-call] # Ray's own
    config = train_config(data, "unused", batch_size=cpus, workers={"num_workers": cpus})
    with pytest.raises(ConfigError, match="leave none to decode on"):
        decoded_dataset(TrainingData.of(open_artifact(data), config), config, COLUMNS)
