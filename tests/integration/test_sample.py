"""`sample` on real Ray actors and real stores: the same pictures however the work is shared."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, UNet2DModel
from numpy.typing import NDArray
from tests.helpers.pictures import decoded
from tests.helpers.tiny_artifacts import DIGITS, publish_digits, publish_model, tiny_unet

from darkroom.config import build_config
from darkroom.diffusion import ImageNoise, ScheduleConfig, build_schedule, image_seed
from darkroom.diffusion.sampler import timesteps
from darkroom.errors import ConfigError, DarkroomError, DataError, InputError, ObjectNotFoundError
from darkroom.jobs.sample import job
from darkroom.jobs.sample.config import SampleConfig
from darkroom.jobs.sample.drawer import Drawer, DrawnImage, to_uint8
from darkroom.jobs.sample.plan import PlannedImage, batches, plan_images
from darkroom.storage import Artifact, PartWriter, open_artifact, open_store, parse_uri

NUM_IMAGES = 35


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return publish_model(tmp_path_factory.mktemp("model"))


def config_of(model: Artifact, output: str | Path, **values: Any) -> SampleConfig:
    settings = {"num_images": NUM_IMAGES, "num_steps": 6, "sampler": "ddpm", "seed": 11}
    return build_config(
        SampleConfig, {"input": str(model.uri), "output": str(output), **settings, **values}
    )


def draw_here(config: SampleConfig, model: Artifact, folder: Path) -> NDArray[np.uint8]:
    """The run's pictures, drawn in this process in batches of the config's size."""
    writer = PartWriter(parse_uri(folder), "a")
    drawer = Drawer(config.to_dict(), model.digest, writer)
    classes = model.manifest.metadata["classes"]
    plan = plan_images(config.seed, config.total, range(len(classes)), classes)
    drawn = [image for part in batches(plan, config.batch_size) for image in drawer.draw(part)]
    return np.stack([decoded(image.png) for image in drawn])


def pictures(samples: Artifact) -> NDArray[np.uint8]:
    return np.stack(
        [decoded(png) for png in samples.read_table("samples.parquet")["image"].to_pylist()]
    )


def grey_levels_apart(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> int:
    return int(np.abs(one.astype(int) - other.astype(int)).max())


@pytest.mark.parametrize(
    ("sampler", "guidance_scale"), [("ddpm", 1.0), ("ddim", 2.5), ("dpm-solver++", 1.0)]
)
def test_the_batch_size_does_not_change_the_pictures(
    sampler: str, guidance_scale: float, model: Artifact, tmp_path: Path
) -> None:
    values = {"sampler": sampler, "guidance_scale": guidance_scale}
    values |= {"eta": 0.7} if sampler == "ddim" else {}
    one, seven, all_at_once = (
        draw_here(config_of(model, tmp_path, batch_size=size, **values), model, tmp_path)
        for size in (1, 7, 35)
    )
    assert grey_levels_apart(one, seven) <= 1
    assert grey_levels_apart(one, all_at_once) <= 1
    other_seed = draw_here(config_of(model, tmp_path, seed=12, **values), model, tmp_path)
    assert grey_levels_apart(one, other_seed) > 50
    assert len(np.unique(one.reshape(len(one), -1), axis=0)) == NUM_IMAGES


def test_what_ddim_draws_is_what_plain_diffusers_draws(model: Artifact, tmp_path: Path) -> None:
    ours = draw_here(
        config_of(model, tmp_path, sampler="ddim", num_images=10, num_steps=10), model, tmp_path
    )
    folder = model.download(tmp_path / "plain", prefix="model/")
    unet = UNet2DModel.from_pretrained(folder / "unet", low_cpu_mem_usage=False).eval()
    scheduler = DDIMScheduler.from_pretrained(folder / "scheduler", set_alpha_to_one=True)
    scheduler.set_timesteps(10)
    x = ImageNoise([image_seed(11, index) for index in range(10)], (1, 8, 8)).initial()
    with torch.inference_mode():
        for t in scheduler.timesteps:
            prediction = unet(x, t, class_labels=torch.arange(10)).sample
            x = scheduler.step(prediction, t, x, use_clipped_model_output=True).prev_sample
    assert grey_levels_apart(ours, to_uint8(x)[:, 0]) <= 1


class DiesOnce(Drawer):
    """Kills its own process in the middle of the run, after drawing but before answering."""

    def draw(self, images: Sequence[PlannedImage]) -> list[DrawnImage]:
        with (Path(self._config.output) / "drawn.log").open("a") as log:
            log.write(f"{images[0].index}\n")
        drawn = super().draw(images)
        marker = Path(self._config.output) / "died"
        if images[0].index == 14 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return drawn


def test_a_killed_actor_costs_its_batch_and_changes_nothing(
    ray_local: None, model: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "samples"
    output.mkdir()
    monkeypatch.setattr(job, "Drawer", _by_value(DiesOnce))
    config = config_of(model, output, batch_size=7, num_actors=2, strip=3, on_existing="overwrite")
    result = job.run(config)

    assert (output / "died").exists()
    drawn = sorted(int(line) for line in (output / "drawn.log").read_text().split())
    assert drawn == [0, 7, 14, 14, 21, 28], "the dead actor's batch is drawn twice, no other"
    samples = open_artifact(str(output), kind="samples")
    assert result["digest"] == samples.digest
    undisturbed = draw_here(config_of(model, tmp_path, batch_size=35), model, tmp_path / "here")
    assert grey_levels_apart(pictures(samples), undisturbed) <= 1
    _check_published(samples, model)


def test_one_actor_on_s3_draws_what_two_draw(
    ray_local: None, bucket_uri: str, tmp_path: Path
) -> None:
    model = publish_model(f"{bucket_uri}/model")
    config = config_of(model, f"{bucket_uri}/samples", num_actors=1, batch_size=32, strip=3)
    result = job.run(config)
    samples = open_artifact(f"{bucket_uri}/samples", kind="samples")
    assert result["output"] == f"{bucket_uri}/samples"
    assert result["num_images"] == NUM_IMAGES
    here = draw_here(config_of(model, tmp_path, batch_size=7), model, tmp_path)
    assert grey_levels_apart(pictures(samples), here) <= 1
    _check_published(samples, model)

    again = config.model_copy(update={"on_existing": "resume"})
    assert job.run(again) == result, "a finished run is kept as it is"


def _check_published(samples: Artifact, model: Artifact) -> None:
    rows = samples.read_table("samples.parquet").to_pylist()
    assert [row["index"] for row in rows] == list(range(NUM_IMAGES))
    assert [row["class_name"] for row in rows] == [DIGITS[i % 10] for i in range(NUM_IMAGES)]
    assert [row["seed"] for row in rows] == [image_seed(11, i) for i in range(NUM_IMAGES)]
    for row in rows:
        entry = samples.entry(row["file_name"])
        assert samples.read_bytes(entry.name) == row["image"]
        assert hashlib.sha256(row["image"]).hexdigest() == row["sha256"] == entry.sha256
    (parent,) = samples.manifest.parents
    assert (parent.role, parent.digest) == ("model", model.digest)
    metadata = samples.manifest.metadata
    assert metadata["num_per_class"] == {name: 4 if int(name) < 5 else 3 for name in DIGITS}
    visited = timesteps(build_schedule(ScheduleConfig(num_timesteps=100)), 6)
    assert metadata["strip_timesteps"] == [visited[0], visited[3], None]
    frames = samples.entries("strip/")
    assert len(frames) == 3 * len(DIGITS)
    last = decoded(samples.read_bytes("strip/7-02-picture.png"))
    assert np.array_equal(last, decoded(rows[7]["image"]))
    assert decoded(samples.read_bytes("grid.png")).shape[1] > 4 * 56
    assert decoded(samples.read_bytes("strip.png")).shape[0] > 10 * 56


def test_bfloat16_and_channels_last_draw_nearly_the_same(model: Artifact, tmp_path: Path) -> None:
    values: Mapping[str, Any] = {"sampler": "ddim", "num_images": 4, "num_steps": 4}
    plain = draw_here(config_of(model, tmp_path, **values), model, tmp_path)
    last = draw_here(config_of(model, tmp_path, channels_last=True, **values), model, tmp_path)
    half = draw_here(config_of(model, tmp_path, precision="bfloat16", **values), model, tmp_path)
    assert grey_levels_apart(plain, last) <= 1
    assert 0 < grey_levels_apart(plain, half) < 40


def test_a_model_without_classes_draws_too(tmp_path: Path) -> None:
    model = publish_model(tmp_path / "model", tiny_unet(num_classes=None, channels=3), classes=())
    config = config_of(model, tmp_path / "out", num_images=3)
    drawn = draw_here_unconditional(config, model, tmp_path)
    assert drawn.shape == (3, 8, 8, 3)
    with pytest.raises(ConfigError, match="trained without classes"):
        job.run(config_of(model, tmp_path / "out", classes=["7"]))


def draw_here_unconditional(
    config: SampleConfig, model: Artifact, folder: Path
) -> NDArray[np.uint8]:
    drawer = Drawer(config.to_dict(), model.digest, PartWriter(parse_uri(folder), "a"))
    drawn = drawer.draw(plan_images(config.seed, config.total, [], []))
    return np.stack([decoded(image.png) for image in drawn])


def test_a_model_published_anew_meanwhile_is_noticed(model: Artifact, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="published anew"):
        Drawer(config_of(model, tmp_path).to_dict(), "0" * 64, PartWriter(parse_uri(tmp_path), "a"))


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"classes": ["seven"]}, ConfigError, "is neither a class of the model nor the index"),
        ({"classes": ["10"]}, ConfigError, "numbered from 0"),
        ({"num_steps": 101}, ConfigError, "trained on 100 timesteps"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(
    values: dict[str, Any], error: type[DarkroomError], message: str,
    model: Artifact, bucket_uri: str,
) -> None:  # fmt: skip
    with pytest.raises(error, match=message) as caught:
        job.run(config_of(model, bucket_uri, **values))
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    assert list(open_store(bucket_uri).list()) == []


def test_inputs_that_are_no_model_are_named(model: Artifact, tmp_path: Path) -> None:
    data = publish_digits(tmp_path / "data")
    with pytest.raises(DataError, match="holds a dataset"):
        job.run(config_of(data, tmp_path / "out"))
    with pytest.raises(ObjectNotFoundError, match="nothing is published"):
        job.run(config_of(model, tmp_path / "out", input=str(tmp_path / "nothing")))
    job_config = config_of(model, model.uri.path)
    with pytest.raises(InputError, match="output"):
        job.run(job_config)


def _by_value(actor: type) -> type:
    """Let Ray carry a class of this module, which workers cannot import, by value."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[actor.__module__])  # type: ignore[no-untyped-call]
    return actor
