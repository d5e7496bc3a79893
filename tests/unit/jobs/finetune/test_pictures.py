"""Validation pictures are what the base's own pipeline draws with the averaged weights."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tests.helpers.captioned_data import publish_captioned
from tests.helpers.encoded_runs import EncodedRun, cached
from tests.helpers.finetuning import finetune_config
from tests.helpers.tiny_families import PIXELS, save_tiny

from darkroom.jobs.finetune.module import FinetuneModule
from darkroom.jobs.training.metrics_log import MetricsLog
from darkroom.jobs.training.picture_log import DrawnPicture, PictureLog
from darkroom.models.families.base import load_base

PICTURES = {
    "prompts": ["a photo of a cat", "a rocket"], "seeds": [3, 4], "num_steps": 2,
    "guidance_scale": 3.0, "every_steps": 4,
}  # fmt: skip


def module_of(base: Path) -> FinetuneModule:
    config = finetune_config(base, validation={"pictures": PICTURES, "every_steps": 10})
    module = FinetuneModule(
        config, load_base(base, field="b", name="b"), picture_size=(PIXELS, PIXELS)
    )
    module.prepare()
    return module.train()


def pixels(png: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(png)))


@pytest.mark.parametrize("family", ["sd", "sdxl", "sd3", "flux"])
def test_pictures_are_the_pipelines_by_the_averaged_weights(tmp_path: Path, family: str) -> None:
    base = save_tiny(family, tmp_path / family)
    module = module_of(base)
    for weight in module.trained.values():  # the average stays where it was
        weight.data.normal_()
    with module.averaged():
        drawn = module.draw_pictures()
    assert [(each.prompt, each.seed) for each in drawn] == [
        (prompt, seed) for prompt in PICTURES["prompts"] for seed in (3, 4)  # type: ignore[attr-defined] # a list
    ]  # fmt: skip
    plain = load_base(base, field="b", name="b").pipeline
    theirs = plain(
        prompt="a rocket", num_inference_steps=2, guidance_scale=3.0, height=PIXELS, width=PIXELS,
        generator=torch.Generator().manual_seed(4), output_type="np",
    ).images[0]  # fmt: skip
    assert np.array_equal(pixels(drawn[-1].image), (theirs.clip(0, 1) * 255).round())
    assert not np.array_equal(pixels(drawn[-1].image), pixels(drawn[-2].image))


def test_pictures_come_before_the_first_step_at_their_interval_and_last(tmp_path: Path) -> None:
    module = module_of(save_tiny("sd", tmp_path / "sd"))
    at = [step for step in range(11) if module.draws_pictures_at(step, last=step == 10)]
    assert at == [0, 4, 8, 10]
    fresh = load_base(tmp_path / "sd", field="b", name="b")
    none = FinetuneModule(finetune_config("/base"), fresh)
    assert not none.draws_pictures_at(0, last=True)


def drawn(number: int, prompt: str = "a cat") -> DrawnPicture:
    sink = io.BytesIO()
    Image.new("RGB", (4, 4), (number, 0, 0)).save(sink, "PNG")
    return DrawnPicture(prompt, 0, sink.getvalue())


def test_log_takes_a_step_that_is_done_again_once_and_comes_back(tmp_path: Path) -> None:
    log = MetricsLog()
    log.add(4, loss=1.0)
    for step, colour in ((0, 1), (4, 2), (8, 3), (4, 5)):
        log.drawn.add(step, [drawn(colour)])
    log.write(tmp_path)
    again = MetricsLog.read(tmp_path)
    assert [(each.step, pixels(each.image)[0, 0, 0]) for each in again.drawn.pictures] == [
        (0, 1), (4, 5)
    ]  # fmt: skip
    assert again.rows == log.rows
    copied = again.copy()
    again.drawn.add(8, [drawn(9)])
    assert len(copied.drawn.pictures) == 2
    assert PictureLog.from_bytes(again.drawn.to_bytes()).pictures == again.drawn.pictures


def test_tensorboard_shows_the_pictures(tmp_path: Path) -> None:
    log = MetricsLog()
    log.drawn.add(4, [drawn(7)])
    events = EventFileLoader(str(log.write_tensorboard(tmp_path))).Load()
    found = [
        (value.tag, event.step)
        for event in events
        for value in event.summary.value
        if value.metadata.plugin_data.plugin_name == "images"
    ]
    assert found == [("a cat/seed 0", 4)]


def test_a_run_from_a_cache_draws_and_decodes_as_one_without(tmp_path: Path) -> None:
    base = save_tiny("sd", tmp_path / "sd")
    data = str(publish_captioned(tmp_path / "data", num_each=2).uri)
    cached(base, data, tmp_path / "cache")
    found = []
    for cache in ({}, {"cache": str(tmp_path / "cache")}):
        run = EncodedRun.of(base, data, validation={"pictures": PICTURES}, **cache)
        module = run.module()
        with module.averaged():
            found.append(module.draw_pictures())
        assert ("image" in run.batch(0)) is not bool(cache)
    assert found[0] == found[1]
