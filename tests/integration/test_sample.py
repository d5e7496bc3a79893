"""Sampling end to end: the same pictures from any batch size and number of workers, a worker that
is killed, every picture stored once, and what is refused before anything starts.

With two workers, one of which is killed, it runs from S3 to S3 on a real Ray; with other pieces
the same stages run in this process.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from tests.helpers.batch_here import stages_here
from tests.helpers.certificates import manifest_of, signing_files
from tests.helpers.pictures import decoded
from tests.helpers.tiny_artifacts import DIGITS, publish_digits, publish_model, tiny_unet

from darkroom.config import build_config
from darkroom.diffusion import ScheduleConfig, build_schedule, image_seed
from darkroom.diffusion.spacing import timesteps
from darkroom.errors import ConfigError, DarkroomError, DataError, InputError, ObjectNotFoundError
from darkroom.jobs.artifacts.samples import Samples
from darkroom.jobs.drawing.stage import DrawStage
from darkroom.jobs.rejects import Rejects
from darkroom.jobs.sample import job
from darkroom.jobs.sample.config import SampleConfig
from darkroom.jobs.sample.plan import plan_images
from darkroom.models.find import FoundModel, find_model
from darkroom.storage import Artifact, open_artifact, open_store

NUM_IMAGES = 35


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return publish_model(tmp_path_factory.mktemp("model"))


def config_of(model: Artifact, output: str | Path, **values: Any) -> SampleConfig:
    settings = {"num_images": NUM_IMAGES, "num_steps": 6, "sampler": "ddpm", "seed": 11}
    return build_config(
        SampleConfig, {"input": str(model.uri), "output": str(output), **settings, **values}
    )


def draw_here(config: SampleConfig) -> NDArray[np.uint8]:
    """The run's pictures, drawn in this process in batches of the config's size."""
    stage = job.draw_stage(config.to_dict(), find_model(config.input, field="input"))
    rows = stage(plan_images(config.total, range(10), DIGITS), Rejects("draw")).to_pylist()
    shape = (len(rows), rows[0]["height"], rows[0]["width"])
    return np.frombuffer(b"".join(row["pixels"] for row in rows), np.uint8).reshape(shape)


def rows_of(samples: Artifact) -> list[dict[str, Any]]:
    columns = ["index", "id", "class_name", "seed", "file_name", "sha256", "image"]
    return [row for table in Samples.of(samples).tables(columns) for row in table.to_pylist()]


def pictures(samples: Artifact) -> NDArray[np.uint8]:
    return np.stack([decoded(row["image"]) for row in rows_of(samples)])


def grey_levels_apart(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> int:
    return int(np.abs(one.astype(int) - other.astype(int)).max())


class DiesOnce:
    """The stage, killing its own process in the middle of the run: after drawing, before it has
    answered."""

    def __init__(self, stage: DrawStage, scene: Path) -> None:
        self._stage, self._scene = stage, scene

    def __call__(self, table: pa.Table, rejects: Rejects) -> pa.Table:
        first = table["index"][0].as_py()
        with (self._scene / "drawn.log").open("a") as log:
            log.write(f"{first}\n")
        drawn = self._stage(table, rejects)
        if first == 14 and not (self._scene / "died").exists():
            (self._scene / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return drawn


def dying_stage(
    values: dict[str, Any], model: FoundModel, lora: None = None, *, scene: Path
) -> DiesOnce:
    return DiesOnce(REAL_STAGE(values, model, lora), scene)


REAL_STAGE = job.draw_stage


def test_a_killed_worker_costs_its_pieces_and_changes_nothing(
    ray_local: None, bucket_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray import cloudpickle

    # Workers cannot import this module.
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # type: ignore[no-untyped-call]
    monkeypatch.setattr(job, "draw_stage", partial(dying_stage, scene=tmp_path))
    model = publish_model(f"{bucket_uri}/model")
    config = config_of(model, f"{bucket_uri}/samples", piece_rows=7, batch_size=4, strip=3)
    result = job.run(config)

    assert (tmp_path / "died").exists()
    drawn = sorted(int(line) for line in (tmp_path / "drawn.log").read_text().split())
    assert drawn.count(14) == 2
    assert set(drawn) == {0, 7, 14, 21, 28}
    assert len(drawn) <= 7, "the dead worker had at most one other piece"
    samples = open_artifact(f"{bucket_uri}/samples", kind="samples")
    assert result["digest"] == samples.digest
    assert grey_levels_apart(pictures(samples), draw_here(config_of(model, tmp_path))) <= 1
    _check_published(samples, model)


def test_one_worker_with_larger_pieces_draws_what_two_draw(bucket_uri: str, tmp_path: Path) -> None:
    model = publish_model(f"{bucket_uri}/model")
    config = config_of(model, f"{bucket_uri}/samples", num_workers=1, piece_rows=32, strip=3)
    with stages_here():
        result = job.run(config)
    samples = open_artifact(f"{bucket_uri}/samples", kind="samples")
    assert result["output"] == f"{bucket_uri}/samples"
    assert result["num_rows"] == NUM_IMAGES
    assert grey_levels_apart(pictures(samples), draw_here(config)) <= 1
    _check_published(samples, model)
    _check_folder(samples, tmp_path / "plain")

    again = config.model_copy(update={"on_existing": "resume"})
    assert job.run(again) == result, "a finished run is kept as it is"


def test_signed_pictures_have_the_same_pixels(model: Artifact, tmp_path: Path) -> None:
    plain = config_of(model, tmp_path / "plain", num_images=6, strip=3)
    signed = config_of(
        model, tmp_path / "signed", num_images=6, strip=3, signing=signing_files(tmp_path / "key")
    )
    assert plain.digest != signed.digest, "neither goes on where the other was stopped"
    with stages_here():
        for config in (plain, signed):
            job.run(config)
    one, other = (open_artifact(config.output) for config in (plain, signed))
    assert (pictures(one) == pictures(other)).all()
    for row in rows_of(other):
        manifest = manifest_of(row["image"], "image/png")
        assert manifest["state"] == "Valid"
        assert hashlib.sha256(row["image"]).hexdigest() == row["sha256"]
    assert b"c2pa" not in rows_of(one)[0]["image"]


def test_a_key_that_cannot_sign_is_refused_first(model: Artifact, tmp_path: Path) -> None:
    signing = signing_files(tmp_path, b"none", b"none")
    with pytest.raises(ConfigError, match=r"signing\.key: .*holds no private key"):
        job.run(config_of(model, tmp_path / "out", signing=signing))
    assert not (tmp_path / "out").exists()


def _check_published(samples: Artifact, model: Artifact) -> None:
    rows = rows_of(samples)
    assert [row["index"] for row in rows] == list(range(NUM_IMAGES))
    assert [row["class_name"] for row in rows] == [DIGITS[i % 10] for i in range(NUM_IMAGES)]
    assert [row["seed"] for row in rows] == [image_seed(11, i) for i in range(NUM_IMAGES)]
    assert len(samples.entries("images/")) == NUM_IMAGES
    for row in rows:
        entry = samples.entry(row["file_name"])
        assert hashlib.sha256(row["image"]).hexdigest() == row["sha256"] == entry.sha256
    for entry in samples.entries("data/"):
        kinds = samples.parquet_file(entry.name).schema_arrow.types
        assert not any(pa.types.is_binary(kind) for kind in kinds), "a picture is stored twice"
    (parent,) = samples.manifest.parents
    assert (parent.role, parent.digest) == ("model", model.digest)
    info = Samples.of(samples).info
    assert info.num_per_class == {name: 4 if int(name) < 5 else 3 for name in DIGITS}
    visited = timesteps(build_schedule(ScheduleConfig(num_timesteps=100)), 6)
    assert info.strip_timesteps == (visited[0], visited[3], None)
    strip = Samples.of(samples).strip(20)
    assert list(strip) == list(DIGITS)
    assert [t for t, _ in strip["7"]] == list(info.strip_timesteps)
    last = strip["7"][2][1][0]
    assert np.array_equal(last, decoded(rows[7]["image"]))
    assert decoded(samples.read_bytes("grid.png")).shape[1] > 4 * 56
    assert decoded(samples.read_bytes("strip.png")).shape[0] > 10 * 56


def _check_folder(samples: Artifact, folder: Path) -> None:
    """What `storage get` makes: PNGs that any program opens."""
    samples.download(folder)
    names = sorted(path.name for path in (folder / "images").iterdir())
    assert names[:2] == ["000000-0.png", "000001-1.png"]
    assert len(names) == NUM_IMAGES


def test_classes_belong_to_a_model_with_classes(tmp_path: Path) -> None:
    model = publish_model(tmp_path / "model", tiny_unet(num_classes=None, channels=3), classes=())
    with pytest.raises(ConfigError, match="trained without classes"):
        job.run(config_of(model, tmp_path / "out", classes=["7"]))


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
