"""What the user can mend is told in one line, before anything is written."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.helpers.cache_runs import publish_pictures
from tests.helpers.captioned_data import publish_captioned
from tests.helpers.finetuning import finetune_config
from tests.helpers.tiny_artifacts import publish_digits
from tests.helpers.tiny_families import save_tiny

from darkroom.errors import InputError
from darkroom.jobs.finetune.job import run


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("sd", tmp_path_factory.mktemp("models") / "sd")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "captioned"
    publish_captioned(folder, num_each=2)
    return folder


def refused(tmp_path: Path, base: Path | str, dataset: Path, **changes: Any) -> str:
    """The one line; nothing is published."""
    output = tmp_path / "output"
    with pytest.raises(InputError) as caught:
        run(finetune_config(base, input=str(dataset), output=str(output), **changes))
    assert not list(output.rglob("*.json"))
    line = str(caught.value)
    assert "\n" not in line
    assert caught.value.exit_code == 2
    return line


def test_base_that_is_not_there(tmp_path: Path, data: Path) -> None:
    assert re.match(
        r"base: got '.*missing', no model lies there",
        refused(tmp_path, tmp_path / "missing", data),
    )


def test_base_of_no_family(tmp_path: Path, data: Path, base: Path) -> None:
    folder = copied(base, tmp_path)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "DDPMPipeline"}))
    assert "is a DDPMPipeline, which is of no family" in refused(tmp_path, folder, data)


def test_base_as_pickles(tmp_path: Path, data: Path, base: Path) -> None:
    folder = copied(base, tmp_path)
    for file in folder.rglob("*.safetensors"):
        torch.save({}, file.with_suffix(".bin"))
        file.unlink()
    assert "has its weights as pickles only" in refused(tmp_path, folder, data)


def test_base_whose_weights_have_another_shape(tmp_path: Path, data: Path, base: Path) -> None:
    folder = copied(base, tmp_path)
    config = json.loads((folder / "unet" / "config.json").read_text())
    config["cross_attention_dim"] = 48
    (folder / "unet" / "config.json").write_text(json.dumps(config))
    line = refused(tmp_path, folder, data)
    assert line.startswith("base: got ")
    assert "cannot be loaded" in line
    assert "32" in line
    assert "48" in line


def test_hub_id_that_cannot_be_reached(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    line = refused(tmp_path, "nobody/nothing", data)
    assert "is no folder here, and the hub cannot be asked" in line


def test_grey_pictures(tmp_path: Path, base: Path) -> None:
    publish_digits(tmp_path / "digits", captions=True)
    assert "has grey pictures" in refused(tmp_path, base, tmp_path / "digits")


def test_pictures_without_captions(tmp_path: Path, base: Path) -> None:
    publish_captioned(tmp_path / "bare", captions=False, num_each=2)
    line = refused(tmp_path, base, tmp_path / "bare")
    assert "has no caption in its training split; prepare it with source.kind captions" in line


def test_pictures_of_a_size_that_does_not_fit(tmp_path: Path, base: Path) -> None:
    publish_captioned(tmp_path / "odd", side=31, num_each=2)
    line = refused(tmp_path, base, tmp_path / "odd")
    assert "has pictures of height 31, and the base takes multiples of 2" in line


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"objective": {"flow_shift": 2.0}}, "objective.flow_shift: got 2.0"),
        ({"compute": {"sdpa": False}}, "compute.sdpa"),
        (
            {"method": "full", "base_precision": "bfloat16", "compute": {"precision": "bfloat16"}},
            "base_precision bfloat16 is for what is frozen",
        ),
        ({"base_precision": "bfloat16"}, "needs compute.precision bfloat16"),
        (
            {"base_precision": "float16", "compute": {"precision": "bfloat16"}},
            "base_precision float16 needs compute.precision float16",
        ),
        ({"data": {"ingest": "ray_data"}}, "finetune reads with data.ingest exact only"),
        ({"lora": {"rank": 0}}, "lora.rank"),
        ({"lora": {"rank": 10**9}}, "lora.rank"),
        ({"lora": {"target": "all"}}, "did you mean 'targets'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_settings_that_do_not_fit(
    tmp_path: Path, base: Path, data: Path, changes: dict[str, Any], says: str
) -> None:
    assert says in refused(tmp_path, base, data, **changes)


def copied(base: Path, tmp_path: Path) -> Path:
    """The base, to be broken."""
    import shutil

    return Path(shutil.copytree(base, tmp_path / "broken"))


def test_pictures_of_several_sizes_in_no_buckets(tmp_path: Path, base: Path) -> None:
    publish_pictures(str(tmp_path / "mixed"), in_buckets=False)
    assert "its images differ in size" in refused(tmp_path, base, tmp_path / "mixed")
