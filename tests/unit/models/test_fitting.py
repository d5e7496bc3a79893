"""A base is judged by its configs and the headers of its files; nothing is loaded."""

from __future__ import annotations

import json
import shutil
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


@pytest.mark.parametrize(
    ("part", "made_by", "says"),
    [
        ("vae", "x", "names no class of its vae"),
        ("vae", [None, None], "names no class of its vae"),
        ("unet", ["diffusers", 5], "names no class of its unet"),
        ("vae", ["os", "system"], "has its vae from 'os'"),
        ("text_encoder", ["transformers", "T5EncoderModel"],
         r"has T5EncoderModel as its text_encoder, and text_encoder/config\.json CLIPTextModel"),
        ("unet", ["diffusers", "AutoencoderKL"],
         r"has AutoencoderKL as its unet, and unet/config\.json UNet2DConditionModel"),
    ],
)  # fmt: skip
def test_an_index_that_names_something_else_is_refused(
    part: str, made_by: object, says: str, tmp_path: Path
) -> None:
    folder = save_tiny("sd", tmp_path / "sd")
    file = folder / "model_index.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), part: made_by}))
    with pytest.raises(ConfigError, match=rf"cannot be loaded .its model_index\.json {says}"):
        check(folder)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"prediction_type": "foo"}, "prediction_type of its scheduler is 'foo'"),
        ({"num_train_timesteps": 0}, "num_train_timesteps of its scheduler is 0"),
        ({"num_train_timesteps": "1000"}, "num_train_timesteps of its scheduler is '1000'"),
        ({"num_train_timesteps": 10**12}, "num_train_timesteps of its scheduler is 1000000000000"),
    ],
)
def test_a_schedule_that_cannot_be_followed_is_refused(
    values: dict[str, object], says: str, tmp_path: Path
) -> None:
    folder = save_tiny("sd", tmp_path / "sd")
    file = folder / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))
    with pytest.raises(ConfigError, match=says):
        check(folder)


def test_a_tokenizer_that_is_missing_is_named(tmp_path: Path) -> None:
    folder = save_tiny("sd", tmp_path / "sd")
    shutil.rmtree(folder / "tokenizer")
    with pytest.raises(ConfigError, match=r"cannot be loaded \(there is no tokenizer\)"):
        check(folder)
