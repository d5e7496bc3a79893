"""Batches hold the plan's rows, decoded, whether or not they are cached."""

from __future__ import annotations

import io
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.helpers.tiny_artifacts import NUM_TRAIN, publish_digits

from darkroom.errors import DataError
from darkroom.jobs.artifacts.dataset import Dataset
from darkroom.jobs.pictures.shape import ImageShape
from darkroom.jobs.training.dataset import TrainingData
from darkroom.jobs.training.plan import Batching, DataPlan
from darkroom.jobs.training.seeding import row_key
from darkroom.jobs.training.stream import BatchStream, DataRows
from darkroom.storage import Artifact

PLENTY = 2**20


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return publish_digits(tmp_path_factory.mktemp("digits") / "data")


def plan_of(dataset: Artifact, *, batch: int = 16, limit: int | None = None) -> DataPlan:
    groups = Dataset.of(dataset).row_groups("train", limit)
    return DataPlan(groups, seed=3, shuffle_window=4, batching=Batching(batch))


def rows_of(
    dataset: Artifact, plan: DataPlan, *, side: int = 8, cache_bytes: int = PLENTY
) -> DataRows:
    data = TrainingData(Dataset.of(dataset), ImageShape(side, side, 1), NUM_TRAIN, True)
    return DataRows(data, plan, ("image", "label", "caption"), cache_bytes=cache_bytes)


def table_rows(dataset: Artifact) -> tuple[np.ndarray, np.ndarray, list[str]]:
    images, labels, ids = [], [], []
    for entry in dataset.entries("data/train/"):
        table = dataset.read_table(entry.name)
        labels += table["label"].to_pylist()
        ids += table["id"].to_pylist()
        for encoded in table["image"].to_pylist():
            with Image.open(io.BytesIO(encoded)) as image:
                images.append(np.asarray(image)[None])
    return np.stack(images), np.array(labels), ids


@pytest.mark.parametrize("cache_bytes", [0, PLENTY])
def test_batches_hold_the_rows_of_the_plan(digits: Artifact, cache_bytes: int) -> None:
    plan = plan_of(digits)
    images, labels, ids = table_rows(digits)
    rows = rows_of(digits, plan, cache_bytes=cache_bytes)
    num_steps = NUM_TRAIN // 16 + 5  # into the second epoch, where the cache answers
    stream = BatchStream(rows, plan, num_steps=num_steps)
    seen = 0
    for step, batch in enumerate(stream):
        expected = plan.rows(step)
        assert batch["step"] == step
        assert np.array_equal(batch["image"].numpy(), images[expected])
        assert np.array_equal(batch["label"].numpy(), labels[expected])
        assert batch["caption"] == [None] * 16
        assert batch["row"].tolist() == [row_key(ids[row]) for row in expected]
        assert batch["epoch"].tolist() == plan.epochs(step).tolist()
        seen += 1
    assert seen == len(stream) == num_steps


def test_a_resumed_stream_reads_only_what_is_due(digits: Artifact) -> None:
    plan = plan_of(digits)
    rows = rows_of(digits, plan)
    stream = BatchStream(rows, plan, num_steps=60)
    stream.first_step = 59
    (batch,) = list(stream)
    assert batch["step"] == 59
    read = {plan.groups[number].index for number in rows._groups.tables}
    starts = np.searchsorted(plan.starts, plan.rows(59), side="right") - 1
    assert read == {plan.groups[number].index for number in set(starts.tolist())}


def test_limit_takes_the_first_rows(digits: Artifact) -> None:
    assert plan_of(digits, limit=100).num_rows == 100
    assert plan_of(digits, limit=10**6).num_rows == NUM_TRAIN


def test_an_abandoned_stream_ends_its_thread(digits: Artifact) -> None:
    plan = plan_of(digits)
    rows = rows_of(digits, plan)
    before = threading.enumerate()  # other tests' streams may not have been collected yet
    iterator = iter(BatchStream(rows, plan, num_steps=10_000))
    next(iterator)
    iterator.close()  # type: ignore[attr-defined] # a generator
    left = [thread for thread in threading.enumerate() if thread not in before]
    assert not [thread for thread in left if thread.name == "batch-stream"]


def test_an_image_of_another_size_is_named(digits: Artifact) -> None:
    plan = plan_of(digits)
    rows = rows_of(digits, plan, side=16)
    with pytest.raises(DataError, match=r"8x8.*row train-\d+, is not the 16x16"):
        list(BatchStream(rows, plan, num_steps=1))


def test_a_flipped_bit_is_never_trained_on(tmp_path: Path) -> None:
    dataset = publish_digits(tmp_path / "data")
    plan = plan_of(dataset)
    entry = dataset.entries("data/train/")[0]
    path = tmp_path / "data" / entry.key
    damaged = bytearray(path.read_bytes())
    damaged[2000] ^= 4
    path.chmod(0o644)
    path.write_bytes(bytes(damaged))
    rows = rows_of(dataset, plan)
    with pytest.raises(Exception, match=r"(?i)crc|checksum|corrupt"):
        list(BatchStream(rows, plan, num_steps=NUM_TRAIN // 16))
