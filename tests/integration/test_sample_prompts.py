"""`sample` with prompts: the pictures of plain diffusers, with a LoRA too, and what is refused.

In this process; that a killed worker changes nothing is `test_sample.py`'s.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoPipelineForText2Image
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from tests.helpers.finetuning import write_untrained_lora
from tests.helpers.pictures import decoded
from tests.helpers.tiny_artifacts import publish_digits, publish_model
from tests.helpers.tiny_families import save_tiny

from darkroom.config import build_config
from darkroom.errors import ConfigError
from darkroom.jobs.artifacts.samples import Samples
from darkroom.jobs.measuring.source import find_generated
from darkroom.jobs.sample import job
from darkroom.jobs.sample.config import SampleConfig
from darkroom.storage import Artifact, open_artifact

pytestmark = pytest.mark.usefixtures("here")

FILE = "pytorch_lora_weights.safetensors"
PROMPTS = ("a cat", "two dogs")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("sd", tmp_path_factory.mktemp("models") / "sd")


def sample(model: object, output: Path, **values: Any) -> Artifact:
    text = values.pop("text", {})
    text = None if text is None else {"prompts": list(PROMPTS), **text}
    settings = {"num_images": 3, "num_steps": 2, "guidance_scale": 2.0, "seed": 5, "batch_size": 1}
    job.run(
        build_config(
            SampleConfig,
            {"input": str(model), "output": str(output), "text": text, **settings, **values},
        )
    )
    return open_artifact(str(output), kind="samples")


def drawn(samples: Artifact) -> list[NDArray[np.uint8]]:
    entries = sorted(samples.entries("images/"), key=lambda entry: entry.name)
    return [decoded(samples.read_bytes(entry.name)) for entry in entries]


def test_a_prompt_in_turn_as_plain_diffusers_draws_it(model: Path, tmp_path: Path) -> None:
    samples = sample(model, tmp_path / "samples")
    rows = [
        row
        for table in Samples.of(samples).tables(["id", "prompt", "class_name", "seed", "sampler"])
        for row in table.to_pylist()
    ]
    assert [row["prompt"] for row in rows] == ["a cat", "two dogs", "a cat"]
    assert [row["id"] for row in rows] == ["000000-a_cat", "000001-two_dogs", "000002-a_cat"]
    assert {row["class_name"] for row in rows} == {None}

    plain = AutoPipelineForText2Image.from_pretrained(model)
    plain.set_progress_bar_config(disable=True)
    assert {row["sampler"] for row in rows} == {type(plain.scheduler).__name__}
    for row, picture in zip(rows, drawn(samples), strict=True):
        expected = plain(
            row["prompt"], num_inference_steps=2, guidance_scale=2.0,
            generator=torch.Generator().manual_seed(row["seed"]),
        ).images[0]  # fmt: skip
        assert (np.asarray(expected) == picture).all()

    info = Samples.of(samples).info
    assert info.prompts == PROMPTS
    assert (info.classes, info.num_per_class, info.model.step) == ((), {}, None)
    assert (*info.image_size, info.channels) == drawn(samples)[0].shape
    assert decoded(samples.read_bytes("grid.png")).shape[0] > 0


def test_what_is_measured_knows_its_prompts(model: Path, tmp_path: Path) -> None:
    sample(model, tmp_path / "samples")
    compared = find_generated(str(tmp_path / "samples"), (), limit=None, seed=0)
    assert compared.rows["prompt"].to_pylist() == ["a cat", "two dogs", "a cat"]


def test_a_lora_draws_over_its_base_and_is_a_parent(model: Path, tmp_path: Path) -> None:
    write_untrained_lora(model, tmp_path / "lora")
    file = tmp_path / "lora" / FILE
    tensors = load_file(file)
    torch.manual_seed(0)
    # An untrained one changes nothing: one of its two matrices is 0.
    save_file({name: torch.randn_like(tensor) for name, tensor in tensors.items()}, file)
    lora = {"lora": {"model": str(tmp_path / "lora"), "weight": 2.0}}
    with_lora = sample(model, tmp_path / "with", text=lora)
    assert [parent.role for parent in with_lora.manifest.parents] == ["model", "lora"]
    without = sample(model, tmp_path / "without")
    pairs = zip(drawn(with_lora), drawn(without), strict=True)
    assert any((one != other).any() for one, other in pairs)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sampler": "ddpm"}, "sampler belongs to models of classes"),
        ({"strip": 2}, "strip belongs to models of classes"),
        ({"classes": ["7"]}, "classes belongs to models of classes"),
    ],
)
def test_settings_of_the_other_kind(
    values: dict[str, Any], message: str, model: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        sample(model, tmp_path / "out", **values)
    assert not (tmp_path / "out").exists()


def test_models_of_the_other_kind(model: Path, tmp_path: Path) -> None:
    digits = publish_model(tmp_path / "digits")
    with pytest.raises(ConfigError, match="takes classes, not texts"):
        sample(digits.uri, tmp_path / "out")
    with pytest.raises(ConfigError, match="needs prompts; give --prompt TEXT"):
        sample(model, tmp_path / "out", text=None)
    assert not (tmp_path / "out").exists()


def test_what_no_pipeline_is_and_too_many_steps(model: Path, tmp_path: Path) -> None:
    publish_digits(tmp_path / "data")
    shutil.copytree(model / "unet", tmp_path / "network")
    for place, values, says in (
        (tmp_path / "network", {}, "input: .* is no diffusers folder: it has no model_index"),
        (tmp_path / "data", {}, "input: .* holds a dataset; give the URI of a model"),
        (model, {"num_steps": 1001}, "num_steps: got 1001, the model was trained on 1000 timest"),
    ):
        with pytest.raises(ConfigError, match=says):
            sample(place, tmp_path / "samples", **values)
    assert not (tmp_path / "samples").exists()
