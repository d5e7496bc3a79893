"""Text-to-image models in the engine: the pictures that `generate` draws, whoever shares a step."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.helpers.drawing_engine import ask_all, ask_alone, close, levels_apart, usual
from tests.helpers.finetuning import write_untrained_lora
from tests.helpers.tiny_families import CAPTIONS, PIXELS, save_tiny

from darkroom.config import build_config
from darkroom.diffusion import image_seed
from darkroom.errors import ConfigError
from darkroom.jobs.drawing.config import LoraUse, TextDrawingConfig
from darkroom.jobs.drawing.drawer import Drawn, Request
from darkroom.jobs.drawing.text_to_image import TextToImageDrawer
from darkroom.jobs.serve.engine.engine import Engine
from darkroom.jobs.serve.engine.load_pipeline import load_text_to_image
from darkroom.jobs.serve.engine.loras import Loras
from darkroom.jobs.serve.engine.source import ModelSource
from darkroom.jobs.serve.request import Defaults, DrawRequest, ServedSampler
from darkroom.models.find import find_model

FAMILIES = ("sd", "sdxl", "sd3", "flux")
QUICK = Defaults(num_steps=3, guidance=4.0, sampler="own")


def served(folder: Path, **settings: Any) -> Engine:
    values = {"defaults": QUICK, "width": PIXELS, "height": PIXELS, **settings}
    engine = Engine([ModelSource(name="tiny", model=str(folder), **values)], max_batch=4)
    engine.load()
    caps: Any = engine._thread.caps
    caps.knows = lambda _key: True
    caps.of = lambda key: 1 if key.exact else 4
    engine._thread._batcher._cap = caps.of
    return engine


def as_generate_draws(
    folder: Path, requests: list[DrawRequest], lora: Path | None = None
) -> list[Any]:
    """Pictures of `darkroom generate` with the model's own scheduler, each by itself."""
    found = find_model(str(folder), field="model")
    pictures = []
    for request in requests:
        values: dict[str, Any] = {
            "num_steps": request.num_steps, "guidance_scale": request.guidance,
            "negative_prompt": request.negative_prompt,
            "lora": None if lora is None else {"model": str(lora)},
            "width": request.width, "height": request.height,
        }  # fmt: skip
        config = build_config(TextDrawingConfig, values)
        adapter = None if lora is None else find_model(str(lora), field="lora.model")
        drawer = TextToImageDrawer(config, found, lora=adapter)
        (drawn,) = drawer.draw(
            [Request("0", request.prompt, image_seed(request.seed, request.index))]
        )
        assert isinstance(drawn, Drawn)
        pictures.append(drawn.pixels)
    return pictures


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(request.param, tmp_path_factory.mktemp(request.param) / request.param)


def test_a_crowd_of_prompts_and_steps_gets_what_generate_draws(folder: Path) -> None:
    engine = served(folder)
    try:
        model = engine.models()[0]
        assert (model.width, model.steps_joined) == (PIXELS, True)
        negatives = [None, "grey", ""] if model.negative_prompts else [None]
        requests = [
            usual(
                engine, prompt=caption, seed=at, num_steps=2 + at % 3,
                guidance=(1.0, 4.0, 2.5)[at % 3],
                negative_prompt=negatives[at % len(negatives)] if at % 3 else None,
            )
            for at, caption in enumerate((*CAPTIONS, CAPTIONS[0]))
        ]  # fmt: skip
        together = ask_all(engine, requests)
        assert max(told.drawing.largest_batch for told in together if told.drawing) > 1
    finally:
        close(engine)
    alone = as_generate_draws(folder, [*requests[:1], *requests[4:]])
    crowd = [*together[:1], *together[4:]]
    for one, other in zip(crowd, alone, strict=True):
        assert levels_apart(one.pixels, other) <= 1
    assert levels_apart(together[0].pixels, together[1].pixels) > 10


@pytest.fixture(scope="module")
def sd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("sd", tmp_path_factory.mktemp("base") / "sd")


@pytest.fixture(scope="module")
def lora(sd: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loras") / "ink"
    write_untrained_lora(sd, folder)
    path = folder / "pytorch_lora_weights.safetensors"
    torch.manual_seed(0)
    save_file(
        {
            name: torch.randn_like(tensor) if ".lora_B." in name else tensor
            for name, tensor in load_file(path).items()
        },
        path,
    )
    return folder


@pytest.fixture(scope="module")
def engine(sd: Path, lora: Path) -> Iterator[Engine]:
    engine = served(sd, loras={"ink.1": LoraUse(model=str(lora)), "half": LoraUse(
        model=str(lora), weight=0.5)})  # fmt: skip
    yield engine
    close(engine)


def test_any_mix_of_schedulers_shares_steps(engine: Engine) -> None:
    samplers: tuple[ServedSampler, ...] = engine.models()[0].samplers
    assert samplers == ("own", "ddpm", "ddim", "dpm-solver++", "euler")
    requests = [
        usual(engine, prompt=CAPTIONS[at % 3], seed=at, num_steps=3 + at % 4, sampler=sampler)
        for at, sampler in enumerate(samplers * 2)
    ]
    together, alone = ask_all(engine, requests), ask_alone(engine, requests)
    for one, other in zip(together, alone, strict=True):
        assert levels_apart(one.pixels, other.pixels) <= 1
    assert max(told.drawing.largest_batch for told in together if told.drawing) == 4


def test_loras_are_switched_between_batches_and_leave_no_trace(
    engine: Engine, sd: Path, lora: Path
) -> None:
    requests = [
        usual(engine, prompt=CAPTIONS[0], seed=1, num_steps=4, lora=name)
        for name in ("ink.1", None, "half", "ink.1", None)
    ]
    one, base, half, again, base_again = (told.pixels for told in ask_all(engine, requests))
    assert levels_apart(one, again) <= 1
    assert levels_apart(base, base_again) <= 1
    assert levels_apart(one, base) > 1
    assert levels_apart(one, half) > 1
    assert levels_apart(base, as_generate_draws(sd, requests[1:2])[0]) <= 1
    assert levels_apart(one, as_generate_draws(sd, requests[:1], lora)[0]) <= 1


def test_previews_and_a_long_prompt_are_told(engine: Engine) -> None:
    request = usual(engine, prompt="very " * 100, num_steps=4, num_previews=3, sampler="ddim")
    (told,) = ask_all(engine, [request])
    assert [preview.step for preview in told.previews] == [1, 2, 3]
    assert {preview.pixels.shape for preview in told.previews} == {(32, 32, 3)}
    assert told.drawing is not None
    assert told.drawing.num_tokens_cut > 20


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"width": 33}, "width: got 33, must be a multiple of 2"),
        ({"prompt": None}, "prompt: tiny needs a prompt"),
        ({"label": "7"}, "label: got '7', tiny has no classes"),
        ({"lora": "inc.1"}, r"lora: got 'inc\.1', .* did you mean 'ink\.1'\?"),
        ({"negative_prompt": "grey", "guidance": 1.0}, "has no effect without guidance"),
    ],
)
def test_what_it_cannot_draw_is_refused(
    engine: Engine, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        engine.check(usual(engine, **values))


def test_a_lora_in_use_is_never_taken_out(sd: Path, lora: Path) -> None:
    source = ModelSource(name="tiny", model=str(sd), defaults=QUICK)
    found = find_model(str(sd), field="model")
    model: Any = load_text_to_image(source, TextDrawingConfig(), found)
    pipeline = model._base.pipeline
    uses = {name: LoraUse(model=str(lora)) for name in "abc"}
    loras = Loras(pipeline, uses, found, max_loaded=2)
    assert loras.loaded == ["b", "c"]

    class Picture:
        pass

    held = Picture()
    loras.use("b")
    loras.hold("b", held)
    loras.use("a")
    assert loras.loaded == ["b", "a"]
    del held
    loras.use("c")
    assert loras.loaded == ["a", "c"]


def test_another_pipeline_is_drawn_picture_by_picture(sd: Path, tmp_path: Path) -> None:
    parts: Any = diffusers.StableDiffusionPipeline.from_pretrained(sd, safety_checker=None)
    other = diffusers.StableDiffusionPAGPipeline(
        **{**parts.components, "image_encoder": None}, requires_safety_checker=False
    )
    other.save_pretrained(tmp_path / "pag")
    engine = served(tmp_path / "pag")
    try:
        model = engine.models()[0]
        assert (model.steps_joined, model.samplers) == (False, ("own",))
        requests = [
            usual(engine, prompt=CAPTIONS[at], seed=at, num_steps=5, num_previews=2)
            for at in range(3)
        ]
        together = ask_all(engine, requests)
        assert {told.drawing.largest_batch for told in together if told.drawing} == {1}
        assert [preview.step for preview in together[0].previews] == [2, 3]
        alone = ask_alone(engine, requests)
        for one, other_one in zip(together, alone, strict=True):
            assert levels_apart(one.pixels, other_one.pixels) == 0
    finally:
        close(engine)
