"""What a start tries before its first step takes as much memory as any step after it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.helpers.cache_runs import SQUARE, WIDE, publish_pictures
from tests.helpers.finetuning import finetune_config
from tests.helpers.tiny_artifacts import publish_digits
from tests.helpers.tiny_families import save_tiny
from torch import Tensor

from darkroom.errors import ConfigError
from darkroom.jobs.artifacts.dataset import Dataset
from darkroom.jobs.artifacts.row_groups import RowGroup
from darkroom.jobs.finetune.config import FinetuneConfig
from darkroom.jobs.finetune.job import Finetuning
from darkroom.jobs.finetune.module import FinetuneModule
from darkroom.jobs.pictures.shape import ImageShape
from darkroom.jobs.training.dataset import TrainingData
from darkroom.jobs.training.job import run_training
from darkroom.jobs.training.plan import Batching, RankPlan
from darkroom.jobs.training.row_source import PictureRowSource, RowSource, Sizes
from darkroom.jobs.training.stream import BatchStream
from darkroom.jobs.training.training_stream import Batch, BatchRows
from darkroom.models.find import find_model
from darkroom.storage import Artifact, open_artifact


class InBuckets(RowSource):
    """Rows of these sizes, which nothing reads."""

    def __init__(self, sizes: list[tuple[int, int]]) -> None:
        super().__init__((RowGroup("part", 0, len(sizes)),))
        object.__setattr__(self, "_sizes", np.array(sizes, dtype=np.int64))

    def sizes(self) -> Sizes | None:
        found: Sizes = self.__dict__["_sizes"]
        return found

    def reader(self, plan: RankPlan, *, seed: int | None, cache_bytes: int) -> BatchRows:
        raise NotImplementedError


@given(
    st.lists(st.sampled_from([(4, 4), (2, 6), (6, 2), (3, 6), (8, 4)]), min_size=1, max_size=40),
    st.integers(1, 12),
    st.integers(1, 4),
    st.integers(1, 12),
)
def test_no_pass_of_any_step_has_more_pixels(
    sizes: list[tuple[int, int]], batch_size: int, num_workers: int, at_once: int
) -> None:
    source = InBuckets(sizes)
    tried = source.largest(Batching(batch_size, num_workers, rank=num_workers - 1), at_once)
    assert tried is not None
    assert len(set(tried.tolist())) == 1
    area = [height * width for height, width in sizes]
    found = min(len(tried), at_once) * area[tried[0]]
    most = 0
    for rank in range(num_workers):
        plan = source.plan(Batching(batch_size, num_workers, rank), seed=0, shuffle_window=1)
        for step in range(len(sizes)):  # an epoch or more
            rows = plan.rows(step)
            most = max([most, *(min(len(rows), at_once) * area[row] for row in rows[:1])])
            if len(rows) > at_once and area[rows[0]] == area[tried[0]]:
                assert len(tried) > at_once, "a pass that has gradients beside it is tried too"
    assert found == most


def test_pictures_of_one_size_are_tried_by_those_of_the_first_step(tmp_path: Path) -> None:
    dataset = Dataset.of(publish_digits(tmp_path / "data"))
    data = TrainingData(dataset, ImageShape(8, 8, 1), dataset.info.split_rows["train"], True)
    source = PictureRowSource.of(data, "train", None, columns=("image",))
    batching = Batching(16, 2, rank=1)
    assert source.largest(batching, 4) is None
    plan = source.plan(batching, seed=3, shuffle_window=4)
    stream = BatchStream(source.reader(plan, seed=3, cache_bytes=0), plan, num_steps=40)
    stream.first_step = 30
    (due,) = [batch for batch in stream if batch["step"] == 30]
    tried = stream.largest_batch(3)
    assert (tried["step"], tried["first"]) == (30, 8)
    for name in ("row", "epoch", "image"):
        assert torch.equal(tried[name], due[name][:6])


class FullModule(FinetuneModule):
    """Memory for so many pixels in a pass with gradients."""

    most_pixels = 0

    def training_losses(self, batch: Batch) -> Tensor:
        rows, _, height, width = batch["image"].shape
        if rows * height * width > self.most_pixels:
            raise torch.OutOfMemoryError("injected")
        return super().training_losses(batch)

    def validation_losses(self, batch: Batch, first_index: int) -> Tensor:
        rows, _, height, width = batch["image"].shape
        assert rows * height * width <= self.most_pixels, "validated before it was known what fits"
        return super().validation_losses(batch, first_index)


class Full(Finetuning):
    """As the verb's own, but for memory."""

    def __init__(self, config: FinetuneConfig, most_pixels: int) -> None:
        super().__init__(config, find_model(config.base, field="base"))
        self._most_pixels = most_pixels

    def build(self, _: TrainingData) -> FinetuneModule:
        module = FullModule(self.config, self._load())
        module.most_pixels = self._most_pixels
        return module


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("probe")
    base = save_tiny("sd", folder / "base")
    return {"base": str(base), "input": str(publish_pictures(str(folder / "data")).uri)}


def config(places: dict[str, str], output: Path, **changes: Any) -> FinetuneConfig:
    return finetune_config(
        places["base"], input=places["input"], output=str(output), batch_size=2, max_steps=6,
        checkpoint={"every_steps": 3}, log_every_steps=1, validation={"every_steps": 3},
        workers={"num_workers": 0}, **changes,
    )  # fmt: skip


def losses(model: Artifact) -> list[float]:
    return list(model.read_table("metrics.parquet")["loss"].drop_null().to_pylist())


def test_what_fits_is_found_before_the_first_step(
    places: dict[str, str], tmp_path: Path, darkroom_log: list[str]
) -> None:
    """The step of two pictures is not the first: without a probe it would be met on the way."""
    pixels = WIDE[0] * WIDE[1]
    assert SQUARE[0] * SQUARE[1] > pixels
    small = config(places, tmp_path / "small", optimizer={"accumulation_steps": 2})
    run_training(Full(small, 2 * pixels))
    found = config(places, tmp_path / "found")
    run_training(Full(found, 2 * pixels - 1))
    model = open_artifact(found.output)
    log = model.read_table("metrics.parquet").to_pydict()
    (said,) = (line for line in darkroom_log if "out of memory" in line)
    assert "rank 0 ran out of memory at step 0 with 2 rows at once" in said
    assert {size for size in log["micro_batch_size"] if size is not None} == {1}
    assert losses(model) == losses(open_artifact(small.output))


def test_what_does_not_fit_by_one_row_ends_before_anything_is_trained(
    places: dict[str, str], tmp_path: Path
) -> None:
    seen: list[Any] = []
    too_little = Full(config(places, tmp_path / "none"), SQUARE[0] * SQUARE[1] - 1)
    with pytest.raises(ConfigError, match="not even one row at a time fits"):
        run_training(too_little, on_row=seen.append)
    assert not seen
