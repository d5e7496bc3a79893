"""Each family's text, latents and network inputs are diffusers' own pipeline's, to the bit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.helpers.tiny_families import CAPTIONS, PIXELS, save_tiny

from darkroom.errors import ConfigError
from darkroom.models.families.base import BaseModel, load_base
from darkroom.models.families.family import Conditioning, Frame, TextEmbedding
from darkroom.models.families.find import FAMILIES
from darkroom.models.families.flux import pack, unpack
from darkroom.models.families.latents import encode_picture, to_network

NAMES = ["sd", "sdxl", "sd3", "flux"]
GUIDANCE = 3.5


@pytest.fixture(scope="module", params=NAMES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    name: str = request.param
    return save_tiny(name, tmp_path_factory.mktemp("models") / name)


@pytest.fixture(scope="module")
def base(folder: Path) -> BaseModel:
    return load_base(folder, field="model", name=str(folder))


@pytest.fixture(scope="module")
def plain(folder: Path) -> Any:
    """The same folder, as anybody else loads it."""
    pipeline = diffusers.DiffusionPipeline.from_pretrained(folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def draw(pipeline: Any, **options: Any) -> Any:
    guidance = GUIDANCE if "Flux" in type(pipeline).__name__ else 1.0
    return pipeline(
        prompt=list(CAPTIONS[:2]), num_inference_steps=2, height=PIXELS, width=PIXELS,
        guidance_scale=guidance, generator=torch.Generator().manual_seed(3), **options,
    ).images  # fmt: skip


def test_the_folder_says_which_family_it_is_of(base: BaseModel, folder: Path) -> None:
    assert base.family.name == folder.name
    assert base.family in FAMILIES
    assert base.network is base.pipeline.components[base.family.network]
    assert not base.network.training


@torch.no_grad()
def test_network_gets_what_the_pipeline_gives_it(base: BaseModel, plain: Any) -> None:
    network = plain.components[base.family.network]
    seen: list[tuple[dict[str, Any], Any]] = []

    def keep(_module: Any, given: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        x = given[0] if given else named["hidden_states"]
        t = given[1] if len(given) > 1 else named["timestep"]
        seen.append(({"x": x.clone(), "t": t.clone()}, output[0]))

    hook = network.register_forward_hook(keep, with_kwargs=True)
    draw(plain, output_type="latent")
    hook.remove()
    given, expected = seen[-1]
    x, t = given["x"], given["t"].expand(2)
    side = PIXELS // 2
    if base.family.name == "flux":
        x, t, expected = unpack(x, side, side), t * 1000, unpack(expected, side, side)
    conditioning = Conditioning(
        base.encode_text(CAPTIONS[:2]), Frame.whole(PIXELS, PIXELS), guidance=GUIDANCE
    )
    assert torch.equal(base.family.forward(base.network, x, t, conditioning), expected)


def test_pictures_are_those_of_plain_diffusers(base: BaseModel, plain: Any) -> None:
    ours, theirs = (draw(each, output_type="np") for each in (base.pipeline, plain))
    assert np.array_equal(ours, theirs)
    assert np.ptp(ours) > 0.01


def test_captions_change_what_is_predicted(base: BaseModel) -> None:
    x = torch.randn(2, 4, PIXELS // 2, PIXELS // 2, generator=torch.Generator().manual_seed(1))
    x = x[:1].repeat(2, 1, 1, 1)
    text = base.encode_text(["a photo of a cat", "a rocket at launch"])
    given = Conditioning(text, Frame.whole(PIXELS, PIXELS), guidance=1.0)
    with torch.no_grad():
        first, second = base.family.forward(base.network, x, torch.full((2,), 500.0), given)
    assert not torch.equal(first, second)


def test_latents_are_those_of_the_vae(base: BaseModel) -> None:
    pictures = torch.rand(2, 3, PIXELS, PIXELS) * 2 - 1
    noise = torch.randn(2, 4, PIXELS // 2, PIXELS // 2, generator=torch.Generator().manual_seed(7))
    posterior = encode_picture(base.vae, pictures)
    with torch.no_grad():
        theirs = base.vae.encode(pictures).latent_dist.sample(torch.Generator().manual_seed(7))
    assert torch.equal(posterior.sample(noise), theirs)
    config = base.vae.config
    expected = (theirs - (config.shift_factor or 0)) * config.scaling_factor
    assert torch.equal(to_network(base.vae_config, theirs), expected)


def test_latents_with_a_mean_and_spread_of_each_channel(tmp_path: Path) -> None:
    vae = load_base(save_tiny("sd", tmp_path / "sd"), field="model", name="x").vae
    vae.register_to_config(latents_mean=[1.0, 2.0, 3.0, 4.0], latents_std=[2.0] * 4)
    z = torch.ones(1, 4, 2, 2)
    assert to_network(vae.config, z)[0, :, 0, 0].tolist() == [0.0, -0.25, -0.5, -0.75]


def test_lora_names_match_the_modules_that_they_mean(base: BaseModel) -> None:
    names = [
        name
        for name, module in base.network.named_modules()
        if isinstance(module, torch.nn.Linear | torch.nn.Conv2d)
    ]
    attention = [name for name in names if re.fullmatch(base.family.lora_attention, name)]
    every = [name for name in names if re.fullmatch(base.family.lora_all, name)]
    assert attention
    assert set(attention) < set(every) < set(names)
    assert all("attn" in name or "attentions" in name for name in attention)


def test_blocks_to_compile_are_in_the_network(base: BaseModel) -> None:
    classes = {type(module).__name__ for module in base.network.modules()}
    assert set(base.family.repeated_blocks) <= classes


def test_base_in_half_precision_keeps_its_vae(folder: Path) -> None:
    base = load_base(folder, field="model", name=str(folder), dtype=torch.bfloat16)
    assert base.network.dtype == torch.bfloat16
    assert base.vae.dtype == torch.float32
    assert {encoder.dtype for encoder in base.text_encoders.values()} == {torch.bfloat16}


def test_tokens_that_are_cut_off_are_counted(base: BaseModel) -> None:
    assert base.truncated(CAPTIONS[0]) == 0
    assert base.truncated("cat " * 100) >= 25


def test_zeros_stand_for_no_text_only_where_the_pipeline_does_so(base: BaseModel) -> None:
    assert base.drops_text_to_zeros is (base.family.name == "sdxl")


def test_folder_of_no_family_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model: got '.*', is no diffusers folder"):
        load_base(tmp_path, field="model", name=str(tmp_path))
    (tmp_path / "model_index.json").write_text('{"_class_name": "DDPMPipeline"}')
    with pytest.raises(ConfigError, match="is a DDPMPipeline, which is of no family"):
        load_base(tmp_path, field="model", name=str(tmp_path))


@pytest.mark.parametrize(
    "index", ["{}", '{"_class_name": ["a"]}', '{"_class_name": "A\\u001b[31m"}']
)
def test_index_that_names_no_pipeline_is_refused(index: str, tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text(index)
    with pytest.raises(ConfigError, match=r"names no pipeline in its model_index\.json; give"):
        load_base(tmp_path, field="model", name=str(tmp_path))


def test_folder_that_lacks_a_part_is_refused_in_one_line(tmp_path: Path) -> None:
    folder = save_tiny("sd", tmp_path / "sd")
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ConfigError, match="cannot be loaded") as caught:
        load_base(folder, field="model", name=str(folder))
    assert "\n" not in str(caught.value)


def test_weights_that_are_missing_are_not_drawn_at_random(tmp_path: Path) -> None:
    folder = save_tiny("sd", tmp_path / "sd")
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    del weights["conv_in.weight"]
    save_file(weights, file)
    with pytest.raises(ConfigError, match=r"of its unet, conv_in\.weight is not there"):
        load_base(folder, field="model", name=str(folder))


def test_another_text_encoders_weights_are_refused(tmp_path: Path) -> None:
    folder = save_tiny("sd", tmp_path / "sd")
    file = folder / "text_encoder" / "model.safetensors"
    save_file({f"other.{name}.x": value for name, value in load_file(file).items()}, file)
    with pytest.raises(ConfigError, match="weights of its text_encoder are not there"):
        load_base(folder, field="model", name=str(folder))


def test_packing_is_undone() -> None:
    x = torch.arange(2 * 4 * 4 * 6.0).reshape(2, 4, 4, 6)
    assert pack(x).shape == (2, 6, 16)
    assert torch.equal(unpack(pack(x), 4, 6), x)


def test_embedding_without_a_pooled_one() -> None:
    assert TextEmbedding(torch.zeros(1, 2, 3)).pooled is None


def test_what_encodes_can_be_left_out(folder: Path, base: BaseModel) -> None:
    lean = load_base(folder, field="m", name="m", with_vae=False, with_text=False)
    assert lean.vae is None
    assert lean.text_encoders == {}
    config = {name: value for name, value in base.vae.config.items() if name != "_name_or_path"}
    assert dict(lean.vae_config) == config
    weights = lean.network.state_dict()
    assert all(torch.equal(each, weights[name]) for name, each in base.network.state_dict().items())


@torch.no_grad()
@pytest.mark.parametrize("is_masked", [False, True])
def test_stable_diffusions_text_is_what_its_pipeline_encodes(
    tmp_path: Path, is_masked: bool
) -> None:
    """What is cut, what is empty, a word of two vectors, and padding that is masked."""
    base = load_base(save_tiny("sd", tmp_path / "sd"), field="model", name="sd")
    pipeline = base.pipeline
    pipeline.tokenizer.add_tokens(["<zwk>", "<zwk>_1"])
    pipeline.text_encoder.resize_token_embeddings(len(pipeline.tokenizer))
    pipeline.text_encoder.config.use_attention_mask = is_masked
    captions = ["", "a cat", "a photo of <zwk> at night", "a very long text " * 40]
    expected, _ = pipeline.encode_prompt(captions, "cpu", 1, do_classifier_free_guidance=False)
    assert torch.equal(base.encode_text(captions).sequence, expected)
