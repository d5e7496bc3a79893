"""Reverse diffusion as workers do it: what a picture depends on, and what it does not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, UNet2DModel
from numpy.typing import NDArray
from tests.helpers.tiny_artifacts import publish_model, tiny_unet

from darkroom.config import build_config
from darkroom.diffusion import ImageNoise, image_seed
from darkroom.errors import ConfigError, DarkroomError
from darkroom.jobs.drawing.class_conditional import ClassConditionalDrawer
from darkroom.jobs.drawing.config import ClassDrawingConfig
from darkroom.jobs.drawing.drawer import Drawn, Request
from darkroom.models.find import find_model
from darkroom.pages.sheet import grey_levels
from darkroom.storage import Artifact

NUM_IMAGES = 35


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return publish_model(tmp_path_factory.mktemp("model"))


def requests(
    seed: int, count: int, *, classes: bool = True, frames_after: tuple[int, ...] = ()
) -> list[Request]:
    return [
        Request(str(at), str(at % 10) if classes else None, image_seed(seed, at), frames_after)
        for at in range(count)
    ]


def drawn(
    model: Artifact, wanted: list[Request], *, batch_size: int = NUM_IMAGES, **values: Any
) -> list[Drawn]:
    settings = {"num_steps": 6, "sampler": "ddpm", **values}
    config = build_config(ClassDrawingConfig, settings)
    drawer = ClassConditionalDrawer(config, find_model(str(model.uri), field="input"))
    starts = range(0, len(wanted), batch_size)
    made = [one for start in starts for one in drawer.draw(wanted[start : start + batch_size])]
    assert all(isinstance(one, Drawn) for one in made)
    return [one for one in made if isinstance(one, Drawn)]


def pixels(made: list[Drawn]) -> NDArray[np.uint8]:
    return np.stack([one.pixels for one in made])


def grey_levels_apart(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> int:
    return int(np.abs(one.astype(int) - other.astype(int)).max())


@pytest.mark.parametrize(
    ("sampler", "guidance_scale"), [("ddpm", 1.0), ("ddim", 2.5), ("dpm-solver++", 1.0)]
)
def test_the_batch_size_does_not_change_the_pictures(
    sampler: str, guidance_scale: float, model: Artifact
) -> None:
    values: dict[str, Any] = {"sampler": sampler, "guidance_scale": guidance_scale}
    values |= {"eta": 0.7} if sampler == "ddim" else {}
    wanted = requests(11, NUM_IMAGES)
    one, seven, all_at_once = (
        pixels(drawn(model, wanted, batch_size=size, **values)) for size in (1, 7, 35)
    )
    assert grey_levels_apart(one, seven) <= 1
    assert grey_levels_apart(one, all_at_once) <= 1
    other_seed = pixels(drawn(model, requests(12, NUM_IMAGES), **values))
    assert grey_levels_apart(one, other_seed) > 50
    assert len(np.unique(one.reshape(len(one), -1), axis=0)) == NUM_IMAGES


def test_what_ddim_draws_is_what_plain_diffusers_draws(model: Artifact, tmp_path: Path) -> None:
    ours = pixels(drawn(model, requests(11, 10), sampler="ddim", num_steps=10))
    folder = model.download(tmp_path / "plain", prefix="model/")
    unet = UNet2DModel.from_pretrained(folder / "unet", low_cpu_mem_usage=False).eval()
    scheduler = DDIMScheduler.from_pretrained(folder / "scheduler", set_alpha_to_one=True)
    scheduler.set_timesteps(10)
    x = ImageNoise([image_seed(11, index) for index in range(10)], (1, 8, 8)).initial()
    with torch.inference_mode():
        for t in scheduler.timesteps:
            prediction = unet(x, t, class_labels=torch.arange(10)).sample
            x = scheduler.step(prediction, t, x, use_clipped_model_output=True).prev_sample
    assert grey_levels_apart(ours, grey_levels(x[:, 0].numpy())) <= 1


def test_bfloat16_and_channels_last_draw_nearly_the_same(model: Artifact) -> None:
    values: Mapping[str, Any] = {"sampler": "ddim", "num_steps": 4}
    plain, last, half = (
        pixels(drawn(model, requests(11, 4), **values, **more))
        for more in ({}, {"channels_last": True}, {"precision": "bfloat16"})
    )
    assert grey_levels_apart(plain, last) <= 1
    assert 0 < grey_levels_apart(plain, half) < 40


def test_frames_go_from_the_noise_to_the_picture(model: Artifact) -> None:
    first, second = drawn(model, [*requests(1, 1, frames_after=(0, 3, 6)), *requests(2, 1)])
    noise = ImageNoise([image_seed(1, 0)], (1, 8, 8)).initial()
    assert (first.frames[0] == grey_levels(noise[0, 0].numpy())).all()
    assert (first.frames[2] == first.pixels).all()
    assert len(first.frames) == 3
    assert not second.frames


def test_a_model_without_classes_draws_too(tmp_path: Path) -> None:
    model = publish_model(tmp_path / "model", tiny_unet(num_classes=None, channels=3), classes=())
    assert pixels(drawn(model, requests(1, 3, classes=False))).shape == (3, 8, 8, 3)


def test_a_model_published_anew_meanwhile_is_noticed(tmp_path: Path) -> None:
    publish_model(tmp_path)
    found = find_model(str(tmp_path), field="input")
    (tmp_path / "manifest.json").unlink()
    publish_model(tmp_path, tiny_unet(seed=1))
    with pytest.raises(DarkroomError, match="published anew"):
        ClassConditionalDrawer(ClassDrawingConfig(), found)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_steps": 101}, r"draw\.num_steps.*trained on 100 timesteps"),
        ({"guidance_scale": 2.0}, r"draw\.guidance_scale.*no null class"),
    ],
)
def test_what_the_model_cannot_do_is_named(
    values: dict[str, Any], message: str, tmp_path: Path
) -> None:
    publish_model(tmp_path, tiny_unet(num_classes=None), classes=())
    found = find_model(str(tmp_path), field="input")
    with pytest.raises(ConfigError, match=message):
        ClassConditionalDrawer(build_config(ClassDrawingConfig, values), found, prefix="draw.")
