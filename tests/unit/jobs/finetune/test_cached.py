"""A cache in place of pictures and captions: the same rows, draws and losses, all variants met."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.helpers.cache_runs import publish_pictures
from tests.helpers.captioned_data import publish_captioned
from tests.helpers.encoded_runs import EncodedRun, cached
from tests.helpers.tiny_families import save_tiny

from darkroom.jobs.cache.encode import EncodeRows
from darkroom.jobs.finetune import cached as cached_rows
from darkroom.jobs.training.seeding import row_key

BATCH_MATES = 1e-6
"""The cache has the VAE and the text encoders at work on other batches, which may decide the last
bit of what they give."""
VARIANTS = 3


@dataclass(frozen=True)
class Desk:
    """A base, data of one size and in buckets, and a cache of each."""

    root: Path
    base: Path
    data: str
    cache: str
    bucketed: str
    bucketed_cache: str


@pytest.fixture(scope="module", params=["sd", "sdxl"])
def desk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return _desk(request.param, tmp_path_factory.mktemp("cached"))


@pytest.fixture(scope="module")
def sd(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return _desk("sd", tmp_path_factory.mktemp("cached"))


def _desk(family: str, root: Path) -> Desk:
    base = save_tiny(family, root / "base")
    data = str(publish_captioned(root / "data", num_each=3).uri)
    bucketed = str(publish_pictures(str(root / "bucketed")).uri)
    cached(base, data, root / "cache", row_group_rows=2)
    cached(base, bucketed, root / "bucketed-cache", row_group_rows=2)
    places = (str(root / name) for name in ("cache", "bucketed-cache"))
    return Desk(root, base, data, next(places), bucketed, next(places))


def losses(run: EncodedRun, steps: range) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Of steps in training, and of the validation batches."""
    module = run.module()
    with torch.no_grad():
        training = [module.training_losses(run.batch(step)) for step in steps]
        return training, [module.validation_losses(batch, 0) for batch in run.validation()]


@pytest.mark.parametrize("in_buckets", [False, True], ids=["one size", "buckets"])
def test_losses_are_those_without_it(desk: Desk, in_buckets: bool) -> None:
    data = desk.bucketed if in_buckets else desk.data
    cache = desk.bucketed_cache if in_buckets else desk.cache
    changes = {"objective": {"caption_dropout": 0.5}}
    plain = EncodedRun.of(desk.base, data, **changes)
    lean = EncodedRun.of(desk.base, data, cache=cache, **changes)
    steps = range(6)  # over the epoch's end
    for step in steps:
        first, second = plain.batch(step), lean.batch(step)
        assert first["row"].tolist() == second["row"].tolist()
        assert first["epoch"].tolist() == second["epoch"].tolist()
        assert "image" not in second
    for found, wanted in zip(losses(lean, steps), losses(plain, steps), strict=True):
        assert len(found) == len(wanted) > 0
        for pair in zip(found, wanted, strict=True):
            torch.testing.assert_close(*pair, rtol=BATCH_MATES, atol=BATCH_MATES)


def test_what_encodes_is_not_loaded(desk: Desk) -> None:
    module = EncodedRun.of(desk.base, desk.data, cache=desk.cache).module()
    assert module.base.vae is None
    assert module.base.text_encoders == {}
    names = {name.partition(".")[0] for name in module.state_dict()}
    assert names == {"unet"}
    plain = EncodedRun.of(desk.base, desk.data).module()
    assert list(plain.trained) == list(module.trained)


def test_a_cache_without_text_leaves_it_to_encoders_that_train(sd: Desk, tmp_path: Path) -> None:
    latents = cached(sd.base, sd.data, tmp_path / "pictures", text=False)
    assert not latents.has_text
    assert latents.info.num_texts_encoded == 0
    changes: dict[str, Any] = {
        "text_encoder": {"learning_rate": 1e-3}, "objective": {"caption_dropout": 0.5}
    }  # fmt: skip
    lean = EncodedRun.of(sd.base, sd.data, cache=str(tmp_path / "pictures"), **changes)
    module = lean.module()
    assert module.base.vae is None
    assert any(name.startswith("text_encoder.") for name in module.trained)
    plain = EncodedRun.of(sd.base, sd.data, **changes)
    for found, wanted in zip(losses(lean, range(2)), losses(plain, range(2)), strict=True):
        for pair in zip(found, wanted, strict=True):
            torch.testing.assert_close(*pair, rtol=BATCH_MATES, atol=BATCH_MATES)


def test_every_variant_is_met_in_training_and_the_first_alone_in_validation(
    sd: Desk, tmp_path: Path
) -> None:
    augment = {"horizontal_flip": 0.5, "crop": {"min_area": 0.5}}
    latents = cached(sd.base, sd.data, tmp_path / "many", variants=VARIANTS, augment=augment)
    run = EncodedRun.of(
        sd.base, sd.data, cache=str(tmp_path / "many"), data={"horizontal_flip": True}
    )
    by_key = {row_key(row.id): row for row in latents.rows()}
    met: Counter[tuple[int, int]] = Counter()
    plan, rows = run.training()
    steps_of_20_epochs = range(20 * plan.num_rows // run.config.batch_size)
    for step in steps_of_20_epochs:
        batch = rows.fetch(plan.rows(step), epoch=plan.epochs(step), step=step)
        for key, mean in zip(batch["row"].tolist(), batch["mean"].numpy(), strict=True):
            (variant,) = (k for k in range(VARIANTS) if np.array_equal(by_key[key].mean[k], mean))
            met[key, variant] += 1
    assert len(met) == VARIANTS * plan.num_rows
    for batch in run.validation():
        for key, mean in zip(batch["row"].tolist(), batch["mean"].numpy(), strict=True):
            assert np.array_equal(by_key[key].mean[0], mean)


def test_rows_that_could_not_be_encoded_are_left_out_and_that_is_said(
    sd: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = EncodeRows._posteriors
    made: list[None] = []

    def third_is_nan(self: EncodeRows, *given: Any) -> Any:
        for encoding in encode(self, *given):
            made.append(None)
            yield encoding * np.nan if len(made) == 3 else encoding

    monkeypatch.setattr(EncodeRows, "_posteriors", third_is_nan)
    latents = cached(sd.base, sd.data, tmp_path / "gap")
    assert latents.info.rejected == {"nan_latents": 1}
    run = EncodedRun.of(sd.base, sd.data, cache=str(tmp_path / "gap"))
    (remark,) = run.trainable.remarks(run.data)
    assert remark == (
        "1 of the 12 training rows are not in the cache and are left out (its dead letters: "
        "nan_latents 1)"
    )
    plan, rows = run.training()
    met: Counter[int] = Counter()
    for step in range(11):  # four epochs of eleven rows in batches of four
        met.update(rows.fetch(plan.rows(step), epoch=plan.epochs(step))["row"].tolist())
    assert met == {row_key(row.id): 4 for row in latents.rows("train")}
    assert len(met) == 11


def test_short_buckets_and_much_memory_are_said(sd: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    run = EncodedRun.of(sd.base, sd.bucketed, cache=sd.bucketed_cache)
    (short,) = run.data.remarks(run.config)
    assert short == (
        "3 of the 3 buckets have fewer training rows than batch_size 4: their steps are short, and "
        "count by their rows"
    )
    assert list(run.trainable.remarks(run.data)) == []
    monkeypatch.setattr(cached_rows, "_MUCH", 0)
    (memory,) = run.trainable.remarks(run.data)
    assert "data.shuffle_window 16 row groups together" in memory
