"""`evaluate` of a model: its pictures are drawn first, once, as `sample` draws them.

The stages run in this process, with tiny models of random weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.helpers.tiny_artifacts import (
    publish_digits,
    publish_model,
    publish_samples,
    split_digits,
    tiny_unet,
)

from darkroom.config import build_config
from darkroom.errors import ConfigError, InputError, OutputExistsError, UriError
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
    publish_model(folder / "large", tiny_unet(size=16))
    publish_model(folder / "letters", classes=("a", "b"))
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
    publish_samples(tmp_path / "samples", *split_digits("validation", 20))
    with pytest.raises(ConfigError, match="sample: says how a model draws, and the input is pict"):
        evaluate(root, tmp_path / "out", input=str(tmp_path / "samples"))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"reference": "{root}/typo"}, r"reference: .*/typo"),
        (
            {"metrics": ["fid_inception"], "networks": {"inception": {"weights": "{root}/none"}}},
            r"networks\.inception\.weights: .*there is no such file",
        ),
        ({"metrics": ["clip_score"]}, r"metrics: .*none can be computed"),
        ({"metrics": ["lpips_diversity"]}, r"metrics: .*networks\.lpips is not given"),
        ({"against": "{root}/data"}, "against: .*is a published dataset, not samples"),
        ({"against": "{root}/typo"}, r"against: .*/typo"),
        ({"against": "{root}/large"}, "against: got '16x16', the size that the model draws, is"),
        ({"against": "{root}/letters"}, "against: got 'a', is a class that the reference does not"),
        ({"sample": {**DRAWING, "classes": ["x"]}}, r"sample\.classes: got 'x', is neither a cl"),
        ({"sample": {**DRAWING, "num_images": 4}, "metrics": ["precision_pixels"],
          "num_neighbours": 4}, "num_neighbours: got 4, is not below the 4 pictures of input"),
        ({"gate": {"num_images": 21}, "require": ["kid_pixels<1"]}, r"gate\.num_images: got 21"),
        ({"require": ["clip_score>1"]}, "require: got 'clip_score>1', clip_score is not measured"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("on_existing", ["refuse", "overwrite"])
def test_nothing_is_drawn_or_replaced_for_what_is_refused(
    on_existing: str, changes: dict[str, Any], says: str, root: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    if on_existing == "overwrite":
        publish_samples(out / "drawn" / "input", *split_digits("validation", 20))
    before = files_of(out)
    changes = json.loads(json.dumps(changes).replace("{root}", str(root)))
    with pytest.raises(InputError, match=says):
        evaluate(root, out, on_existing=on_existing, **changes)
    assert files_of(out) == before


def test_overwriting_draws_anew_and_what_is_left_out_is_told_once(
    root: Path, tmp_path: Path, darkroom_log: list[str]
) -> None:
    metrics = ["kernel_pixels", "clip_score"]
    evaluate(root, tmp_path / "out", metrics=metrics)
    assert "\n".join(darkroom_log).count("clip_score is left out") == 1
    first = open_artifact(tmp_path / "out" / "drawn" / "input")
    values = evaluate(root, tmp_path / "out", metrics=metrics, seed=4, on_existing="overwrite")
    assert values["drawn"]["seed"] == 4
    drawn = open_artifact(tmp_path / "out" / "drawn" / "input")
    assert drawn.digest != first.digest
    parents = {one.role: one.digest for one in open_artifact(tmp_path / "out").manifest.parents}
    assert parents["samples"] == drawn.digest


def test_an_evaluation_is_not_resumed_with_pictures_that_it_is_not_of(
    root: Path, tmp_path: Path
) -> None:
    publish_samples(tmp_path / "samples", *split_digits("validation", 20))
    evaluate(root, tmp_path / "out", input=str(tmp_path / "samples"), sample={})
    before = files_of(tmp_path / "out")
    with pytest.raises(OutputExistsError, match="an evaluation is published here, and not of"):
        evaluate(root, tmp_path / "out", on_existing="resume")
    assert files_of(tmp_path / "out") == before
    (tmp_path / "out" / "manifest.json").unlink()
    with pytest.raises(OutputExistsError, match="an evaluation was begun here, and not of"):
        evaluate(root, tmp_path / "out", on_existing="resume")
    assert not (tmp_path / "out" / "drawn").exists()


@pytest.mark.parametrize(("name", "role"), [("mine", "model"), ("data", "reference")])
def test_an_input_is_never_overwritten(name: str, role: str, root: Path, tmp_path: Path) -> None:
    publish_model(tmp_path / "mine", tiny_unet(seed=0))
    place = tmp_path / name if name == "mine" else root / name
    before = files_of(place)
    with pytest.raises(UriError, match=f"output: .*is also the job's {role}"):
        evaluate(root, place, input=str(tmp_path / "mine"), on_existing="overwrite")
    assert files_of(place) == before


def files_of(folder: Path) -> dict[str, bytes]:
    """All that lies there, with its bytes."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}
