"""`evaluate` of a model: its pictures are drawn first, once, as `sample` draws them.

The stages run in this process, with tiny models of random weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.helpers.tiny_artifacts import publish_digits, publish_model, split_digits, tiny_unet

from darkroom.config import build_config
from darkroom.errors import ConfigError, OutputExistsError
from darkroom.jobs.evaluate.config import EvaluateConfig
from darkroom.jobs.evaluate.job import run
from darkroom.jobs.sample.config import SampleConfig
from darkroom.jobs.sample.job import run as sample
from darkroom.storage import open_artifact, open_store

pytestmark = pytest.mark.usefixtures("here")

DRAWING = {"num_images": 20, "num_steps": 2, "guidance_scale": 1.5}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    publish_digits(folder / "data")
    publish_model(folder / "model", tiny_unet(seed=0))
    publish_model(folder / "other", tiny_unet(seed=1))
    return folder


def evaluate(root: Path, output: Path, **values: Any) -> Mapping[str, Any]:
    """Run the verb; returns what it published as metrics.json."""
    settings = {
        "input": str(root / "model"), "reference": str(root / "data"), "output": str(output),
        "metrics": ["kernel_pixels"], "num_bootstrap": 20, "num_floor_draws": 2,
        "sample": DRAWING, "seed": 3, **values,
    }  # fmt: skip
    run(build_config(EvaluateConfig, settings))
    found: Mapping[str, Any] = open_artifact(str(output)).read_json("metrics.json")
    return found


def test_it_is_measured_by_the_pictures_that_sample_draws(root: Path, tmp_path: Path) -> None:
    values = evaluate(root, tmp_path / "out")
    assert values["num_images"] == DRAWING["num_images"]
    assert {name: values["drawn"][name] for name in ("num_steps", "guidance_scale", "seed")} == {
        "num_steps": 2, "guidance_scale": 1.5, "seed": 3,
    }  # fmt: skip
    settings = {"input": str(root / "model"), "output": str(tmp_path / "alone"), "seed": 3}
    sample(build_config(SampleConfig, {**settings, **DRAWING}))
    drawn = open_artifact(tmp_path / "out" / "drawn" / "input")
    assert drawn.content_digest == open_artifact(tmp_path / "alone").content_digest
    (parent,) = [
        one for one in open_artifact(tmp_path / "out").manifest.parents if one.role == "samples"
    ]
    assert parent.digest == drawn.digest
    again = evaluate(root, tmp_path / "out", on_existing="resume")
    assert again == values


def test_what_was_drawn_before_the_figures_were_lost_is_not_drawn_again(
    root: Path, tmp_path: Path
) -> None:
    values = evaluate(root, tmp_path / "out")
    (tmp_path / "out" / "manifest.json").unlink()
    written = open_artifact(tmp_path / "out" / "drawn" / "input").manifest.created_at
    assert evaluate(root, tmp_path / "out") == values
    again = open_artifact(tmp_path / "out" / "drawn" / "input").manifest.created_at
    assert again == written


def test_two_models_are_compared_picture_by_picture(root: Path, tmp_path: Path) -> None:
    values = evaluate(root, tmp_path / "out", against=str(root / "other"))
    second = values["against"]
    assert second["is_paired"]
    assert second["drawn"]["seed"] == values["drawn"]["seed"] == 3
    assert second["drawn"]["model"] != values["drawn"]["model"]
    assert second["differences"]["kernel_pixels"]["lower"] is not None


def test_what_would_be_refused_in_the_end_is_refused_before_anything_is_drawn(
    root: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="a Frechet distance of 20 pictures is mostly their"):
        evaluate(root, tmp_path / "out", metrics=["frechet_pixels"], require=["fid_pixels<9"])
    with pytest.raises(ConfigError, match=r"sample\.num_step: .*did you mean 'num_steps'"):
        evaluate(root, tmp_path / "out", sample={"num_step": 2})
    assert list(open_store(str(tmp_path / "out")).list()) == []
    evaluate(root, tmp_path / "done", sample={**DRAWING, "num_images": 4})
    with pytest.raises(OutputExistsError, match="a evaluation was published here"):
        evaluate(root, tmp_path / "done")


def test_settings_of_sample_want_a_model(root: Path, tmp_path: Path) -> None:
    from tests.helpers.tiny_artifacts import publish_samples

    publish_samples(tmp_path / "samples", *split_digits("validation", 20))
    with pytest.raises(ConfigError, match="sample: says how a model draws, and the input is pict"):
        evaluate(root, tmp_path / "out", input=str(tmp_path / "samples"))
