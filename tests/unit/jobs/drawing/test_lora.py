"""A LoRA is drawn with only where it fits: else the base's picture would go out under its name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.helpers.finetuning import LORA_FILE, publish_lora, write_untrained_lora
from tests.helpers.tiny_families import save_tiny

from darkroom.config import build_config
from darkroom.errors import ConfigError
from darkroom.jobs.drawing.config import LoraUse
from darkroom.jobs.drawing.lora import find_adapter, load_lora
from darkroom.models.families.base import load_base
from darkroom.models.find import find_model


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("sd", tmp_path_factory.mktemp("models") / "sd")


@pytest.fixture(scope="module")
def lora(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loras") / "lora"
    write_untrained_lora(base, folder)
    return folder


def load(base: Path, lora: Path, *, weight: float = 1.0) -> object:
    pipeline = load_base(base, field="model", name="base").pipeline
    use = build_config(LoraUse, {"model": str(lora), "weight": weight})
    load_lora(pipeline, use, find_model(str(lora), field="lora.model"), field="draw.lora")
    return pipeline


def refused(base: Path, tensors: dict[str, torch.Tensor], folder: Path) -> str:
    folder.mkdir()
    save_file(tensors, folder / LORA_FILE)
    with pytest.raises(ConfigError) as caught:
        load(base, folder)
    line = str(caught.value)
    assert line.startswith("draw.lora.model: got ")
    assert "\n" not in line
    return line


def test_one_that_fits_is_loaded(base: Path, lora: Path) -> None:
    pipeline = load(base, lora, weight=0.5)
    layers = [part for part in pipeline.unet.modules() if hasattr(part, "lora_A")]  # type: ignore[attr-defined]
    assert layers
    assert {layer.scaling["darkroom"] for layer in layers} == {0.5}


def test_names_of_another_tool(base: Path, lora: Path, tmp_path: Path) -> None:
    kohya = {
        "lora_unet_" + name.removeprefix("unet.").replace(".", "_"): tensor
        for name, tensor in load_file(lora / LORA_FILE).items()
    }
    line = refused(base, kohya, tmp_path / "kohya")
    assert "has a name that is not diffusers' for this family (lora_unet_" in line


def test_names_of_another_family(base: Path, lora: Path, tmp_path: Path) -> None:
    flux = {
        name.replace("unet.", "transformer.", 1): tensor
        for name, tensor in load_file(lora / LORA_FILE).items()
    }
    assert "not diffusers' for this family (transformer." in refused(base, flux, tmp_path / "flux")


def test_shapes_of_another_base(base: Path, lora: Path, tmp_path: Path) -> None:
    wider = {
        name: torch.cat([tensor, tensor], dim=1) if ".lora_A." in name else tensor
        for name, tensor in load_file(lora / LORA_FILE).items()
    }
    line = refused(base, wider, tmp_path / "wider")
    assert "does not fit the base" in line
    assert "has shape [4, 64], and the layer [32, 32]" in line


def test_layers_that_the_base_does_not_have(base: Path, lora: Path, tmp_path: Path) -> None:
    deeper = {
        name.replace("down_blocks.0", "down_blocks.7"): tensor
        for name, tensor in load_file(lora / LORA_FILE).items()
    }
    assert "changes a layer that the base does not have" in refused(base, deeper, tmp_path / "deep")


def test_halves_that_do_not_belong_together(base: Path, lora: Path, tmp_path: Path) -> None:
    tensors = load_file(lora / LORA_FILE)
    name = next(name for name in tensors if name.endswith("lora_B.weight"))
    cases = {
        "one half of a change only": {key: value for key, value in tensors.items() if key != name},
        "halves of no common rank": {**tensors, name: tensors[name][:, :2].contiguous()},
        r"halves of no common rank: .* has shape": {**tensors, name: tensors[name].flatten()},
    }
    for number, (says, changed) in enumerate(cases.items()):
        assert re.search(says, refused(base, changed, tmp_path / str(number)))


def test_nothing_in_it(base: Path, tmp_path: Path) -> None:
    line = refused(base, {}, tmp_path / "empty")
    assert "changes nothing of this base" in line or "cannot be loaded" in line


def test_another_base_is_refused_by_its_digest_or_taken_where_that_is_meant(
    base: Path, lora: Path, tmp_path: Path
) -> None:
    found = find_model(str(base), field="model")
    own = publish_lora(lora, tmp_path / "own", of=found.digest)
    others = publish_lora(lora, tmp_path / "others", of="0" * 64)
    assert find_adapter(build_config(LoraUse, {"model": own}), found).name == own
    use = build_config(LoraUse, {"model": others})
    with pytest.raises(ConfigError) as caught:
        find_adapter(use, found, field="draw.lora", base_field="draw.model")
    line = str(caught.value)
    assert f"was trained over another base (000000000000, not {found.digest[:12]})" in line
    assert "give its own base as draw.model, or set draw.lora.any_base for a relative" in line
    assert "\n" not in line
    find_adapter(build_config(LoraUse, {"model": others, "any_base": True}), found)


def test_a_whole_model_is_no_lora(base: Path, lora: Path, tmp_path: Path) -> None:
    found = find_model(str(base), field="model")
    whole = publish_lora(lora, tmp_path / "whole", of=found.digest, method="full")
    with pytest.raises(ConfigError, match="is a whole model and no LoRA; give it as model"):
        find_adapter(build_config(LoraUse, {"model": whole}), found)


def test_a_folder_with_more_than_a_lora_is_refused_before_anything_is_loaded(base: Path) -> None:
    found = find_model(str(base), field="model")
    with pytest.raises(ConfigError, match=r"^lora\.model: .* files of weights, and a LoRA is one"):
        find_adapter(build_config(LoraUse, {"model": str(base)}), found)
