"""A base is judged by its configs and the headers of its files; nothing is loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.helpers.tiny_families import save_tiny

from darkroom.errors import ConfigError
from darkroom.models.families.find import family_of
from darkroom.models.families.fitting import check_folder
from darkroom.models.find import find_model

CHANGES = {
    "sd": ("unet", "cross_attention_dim", "attn2.to_k.weight has the shape"),
    "sdxl": ("unet", "projection_class_embeddings_input_dim", "add_embedding.linear_1.weight"),
    "sd3": ("transformer", "joint_attention_dim", "context_embedder.weight"),
    "flux": ("transformer", "pooled_projection_dim", "text_embedder.linear_1.weight"),
}


def check(folder: Path) -> None:
    model = find_model(str(folder), field="base")
    check_folder(model, family_of(model, field="base"), field="base")


@pytest.mark.parametrize("name", CHANGES)
def test_a_config_of_another_shape_is_refused(name: str, tmp_path: Path) -> None:
    folder = save_tiny(name, tmp_path / name)
    check(folder)
    part, field, says = CHANGES[name]
    file = folder / part / "config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps({**config, field: config[field] + 16}))
    with pytest.raises(ConfigError, match=f"cannot be loaded.*{part}.*{says}"):
        check(folder)


@pytest.mark.parametrize(
    "part",
    ["scheduler/scheduler_config.json", "text_encoder/config.json", "vae/config.json"],
)
def test_a_part_that_is_missing_is_named(part: str, tmp_path: Path) -> None:
    folder = save_tiny("sd", tmp_path / "sd")
    (folder / part).unlink()
    with pytest.raises(ConfigError, match=f"there is no {part}"):
        check(folder)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    folder, other = save_tiny("sd", tmp_path / "sd"), save_tiny("sd3", tmp_path / "sd3")
    name = "diffusion_pytorch_model.safetensors"
    (folder / "unet" / name).write_bytes((other / "transformer" / name).read_bytes())
    with pytest.raises(ConfigError, match=r"of its unet, there is no conv_in\.weight"):
        check(folder)
