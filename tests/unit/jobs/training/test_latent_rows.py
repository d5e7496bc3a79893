"""Latents as batches: one bucket each, every variant met, the same whatever the ranks."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from tests.helpers.cache_runs import cache_config, cached_here, publish_pictures
from tests.helpers.tiny_families import save_tiny

from darkroom.jobs.artifacts.latents import Latents
from darkroom.jobs.training.bucket_plan import BucketPlan
from darkroom.jobs.training.latent_rows import LatentRows
from darkroom.jobs.training.seeding import row_key

VARIANTS = 3


@pytest.fixture(scope="module")
def latents(tmp_path_factory: pytest.TempPathFactory) -> Latents:
    root = tmp_path_factory.mktemp("latents")
    data = publish_pictures(str(root / "data"))
    model = save_tiny("sdxl", root / "model")
    augment = {"horizontal_flip": 0.5, "crop": {"min_area": 0.5}}
    config = cache_config(
        str(data.uri), str(root / "latents"), model, variants=VARIANTS, augment=augment,
        row_group_rows=2,
    )  # fmt: skip
    return cached_here(config)


def rows_and_plan(
    latents: Latents, *, batch_size: int, kept: int = 2
) -> tuple[LatentRows, BucketPlan]:
    groups = latents.row_groups("train")
    buckets = np.unique(latents.sizes("train"), axis=0, return_inverse=True)[1]
    plan = BucketPlan(groups, buckets, batch_size=batch_size, seed=5, shuffle_window=2)
    places = np.arange(plan.num_rows, dtype=np.int64)
    return LatentRows(latents, groups, places, seed=5, groups_kept=kept), plan


def test_an_epoch_meets_each_row_once_in_batches_of_one_size(latents: Latents) -> None:
    rows, plan = rows_and_plan(latents, batch_size=2)
    assert plan.steps_per_epoch == 3  # two wide ones, one square, one tall
    met: Counter[int] = Counter()
    for step in range(plan.steps_per_epoch):
        wanted = plan.rows(step)
        batch = rows.fetch(wanted, epoch=np.zeros_like(wanted), step=step)
        height, width = batch["size"]
        assert batch["mean"].shape == (len(wanted), 4, height // 2, width // 2)
        assert batch["mean"].dtype == torch.float32
        assert batch["pooled"].shape[0] == batch["sequence"].shape[0] == len(wanted)
        assert batch["step"] == step
        met.update(batch["row"].tolist())
    assert met == Counter(row_key(row.id) for row in latents.rows("train"))


def test_every_variant_is_met_and_each_is_one_of_the_row_s(latents: Latents) -> None:
    rows, _ = rows_and_plan(latents, batch_size=1)
    by_key = {row_key(row.id): row for row in latents.rows("train")}
    met: Counter[int] = Counter()
    for epoch in range(30):
        for at in range(4):
            batch = rows.fetch(np.array([at]), epoch=np.array([epoch]))
            row = by_key[int(batch["row"][0])]
            (variant,) = [
                k for k in range(VARIANTS) if np.array_equal(row.mean[k], batch["mean"][0])
            ]
            assert np.array_equal(row.log_variance[variant], batch["log_variance"][0])
            met[variant] += 1
    assert min(met[variant] for variant in range(VARIANTS)) > 25


def test_a_row_s_variant_does_not_depend_on_its_batch(latents: Latents) -> None:
    rows, plan = rows_and_plan(latents, batch_size=2, kept=1)
    wanted = next(plan.rows(s) for s in range(3) if len(plan.rows(s)) == 2)
    epoch = np.full_like(wanted, 7)
    both = rows.fetch(wanted, epoch=epoch)
    for at in range(2):
        alone = rows.fetch(wanted[at : at + 1], epoch=epoch[:1])
        assert torch.equal(alone["mean"][0], both["mean"][at])


def test_rows_of_two_sizes_are_no_batch(latents: Latents) -> None:
    rows, _ = rows_and_plan(latents, batch_size=1)
    with pytest.raises(ValueError, match="a batch has pictures of 2 sizes"):
        rows.fetch(np.array([0, 1]), epoch=np.array([0, 0]))
