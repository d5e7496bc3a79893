"""What `generate` draws with a tiny Stable Diffusion and a tiny class-conditional model."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from diffusers import AutoPipelineForText2Image
from numpy.typing import NDArray
from PIL import Image
from tests.helpers.tiny_artifacts import publish_model
from tests.helpers.tiny_text_to_image import MAX_TOKENS, save_tiny_stable_diffusion

from darkroom.config import build_config
from darkroom.errors import ConfigError, DataError
from darkroom.jobs.batch.commits import PieceFile
from darkroom.jobs.drawing.encode import Encoder, image_files
from darkroom.jobs.drawing.stage import DrawStage
from darkroom.jobs.generate.config import GenerateConfig
from darkroom.jobs.generate.draw import draw_stage
from darkroom.jobs.generate.output import constants_of, output_schema
from darkroom.jobs.generate.preflight import check_model
from darkroom.jobs.parquet import in_schema
from darkroom.jobs.rejects import Rejects
from darkroom.models.find import find_model

PROMPTS = ["a fox", "an owl", "a cat", "a dog", "a wren"]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_stable_diffusion(tmp_path_factory.mktemp("sd") / "model", ancestral=True)


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classes")
    publish_model(folder)
    return folder


def config(model: Path, **values: Any) -> GenerateConfig:
    draw = {"model": str(model), "num_steps": 3, "guidance_scale": 2.0, **values}
    return build_config(GenerateConfig, {"input": "i", "output": "o", "seed": 5, "draw": draw})


def digits(model: Path, **values: Any) -> GenerateConfig:
    return config(model, kind="class_conditional", class_template="{digit}", **values)


def stage(config: GenerateConfig) -> DrawStage:
    assert config.draw is not None
    return draw_stage(config.to_dict(), find_model(config.draw.model, field="draw.model"))


def table(prompts: Sequence[str] = PROMPTS, **columns: list[str | None]) -> pa.Table:
    ids = [f"r{number}" for number in range(len(prompts))]
    return pa.table({"id": ids, "prompt": list(prompts), **columns})


def pixels(result: pa.Table) -> NDArray[np.uint8]:
    height, width = result["height"][0].as_py(), result["width"][0].as_py()
    rows = [np.frombuffer(data, np.uint8) for data in result["pixels"].to_pylist()]
    return np.stack(rows).reshape(len(rows), height, width, -1)


def grey_levels_apart(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> int:
    return int(np.abs(one.astype(int) - other.astype(int)).max())


def test_a_redone_piece_is_equal_and_batches_hardly_matter(pipeline: Path) -> None:
    drawn = [
        pixels(stage(config(pipeline, batch_size=size))(table(), Rejects("draw")))
        for size in (2, 2, 1, 8)
    ]
    assert (drawn[0] == drawn[1]).all()
    assert grey_levels_apart(drawn[0], drawn[2]) <= 1
    assert grey_levels_apart(drawn[0], drawn[3]) <= 1
    assert len(np.unique(drawn[0].reshape(5, -1), axis=0)) == 5


def test_the_noise_belongs_to_the_row(pipeline: Path) -> None:
    result = stage(config(pipeline))(table(["a fox"] * 2), Rejects("draw"))
    assert result["seed"][0] != result["seed"][1]
    first, second = pixels(result)
    assert grey_levels_apart(first, second) > 5


def test_a_row_can_be_drawn_again_with_plain_diffusers(pipeline: Path) -> None:
    result = stage(config(pipeline, batch_size=1))(table(), Rejects("draw"))
    row = result.slice(3, 1).to_pylist()[0]
    plain = AutoPipelineForText2Image.from_pretrained(pipeline)
    plain.set_progress_bar_config(disable=True)
    picture = plain(
        row["prompt"],
        num_inference_steps=3,
        guidance_scale=2.0,
        generator=torch.Generator().manual_seed(row["seed"]),
    ).images[0]
    assert (np.asarray(picture) == pixels(result)[3]).all()


def test_the_enhanced_prompt_is_the_one_that_is_drawn(pipeline: Path) -> None:
    drawer = stage(config(pipeline))
    plain = pixels(drawer(table(), Rejects("draw")))
    enhanced = drawer(table(enhanced_prompt=["a hat"] * 5), Rejects("draw"))
    assert grey_levels_apart(plain, pixels(enhanced)) > 5
    assert enhanced["num_tokens"].to_pylist() == [6] * 5


def test_tokens_past_the_encoders_length_are_counted(pipeline: Path) -> None:
    drawer = stage(config(pipeline))
    result = drawer(table(["x" * 10, "x" * 75, "x" * 76, "x" * 300]), Rejects("draw"))
    assert result["num_tokens"].to_pylist() == [12, 77, 78, 302]  # each letter, start and end
    assert result["num_tokens_cut"].to_pylist() == [0, 0, 1, 302 - MAX_TOKENS]


def test_slicing_saves_memory_and_changes_nothing_to_see(pipeline: Path) -> None:
    plain = pixels(stage(config(pipeline))(table(), Rejects("draw")))
    sliced = stage(config(pipeline, attention_slicing=True, vae_slicing=True, vae_tiling=True))
    drawer: Any = sliced._drawer
    assert drawer._pipeline.vae.use_slicing
    assert drawer._pipeline.vae.use_tiling
    processors = drawer._pipeline.unet.attn_processors
    assert {type(p).__name__ for p in processors.values()} == {"SlicedAttnProcessor"}
    assert grey_levels_apart(plain, pixels(sliced(table(), Rejects("draw")))) <= 1


def test_size_and_negative_prompt_reach_the_pipeline(pipeline: Path) -> None:
    wide = stage(config(pipeline, width=32, height=24))(table(), Rejects("draw"))
    assert pixels(wide).shape == (5, 24, 32, 3)
    plain = pixels(stage(config(pipeline))(table(), Rejects("draw")))
    without = stage(config(pipeline, negative_prompt="hats"))(table(), Rejects("draw"))
    assert grey_levels_apart(plain, pixels(without)) > 0


def test_the_drawn_class_is_the_rows(classes: Path) -> None:
    drawer = stage(digits(classes))
    seven, three = (
        pixels(drawer(table(["p"], digit=[digit]), Rejects("draw"))) for digit in ("7", "3")
    )
    assert seven.shape == (1, 8, 8, 1)
    assert grey_levels_apart(seven, three) > 5, "same noise, another class"
    again = pixels(drawer(table(["p"], digit=["7"]), Rejects("draw")))
    assert (seven == again).all()


def test_a_class_that_the_model_does_not_know_is_rejected(classes: Path) -> None:
    rejects = Rejects("draw")
    result = stage(digits(classes))(table(["a", "b", "c"], digit=["7", "cat", None]), rejects)
    assert result["id"].to_pylist() == ["r0"]
    assert [(r.id, r.reason) for r in rejects.found] == [
        ("r1", "unknown_class"),
        ("r2", "unknown_class"),
    ]


def test_a_model_of_the_other_kind_is_refused(pipeline: Path, classes: Path) -> None:
    with pytest.raises(ConfigError, match=r"set draw\.kind to class_conditional"):
        check_model(config(classes), find_model(str(classes), field="draw.model"))
    with pytest.raises((DataError, FileNotFoundError), match="nothing is published"):
        check_model(digits(pipeline), find_model(str(pipeline), field="draw.model"))


def test_what_the_model_cannot_do_is_refused_on_the_driver(classes: Path) -> None:
    model = find_model(str(classes), field="draw.model")
    with pytest.raises(ConfigError, match=r"draw\.num_steps.*trained on 100 timesteps"):
        check_model(digits(classes, num_steps=101), model)


def test_a_folder_without_a_pipeline_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": "NoSuchPipeline"}')
    with pytest.raises(ConfigError, match=r"draw\.model.*cannot be loaded"):
        stage(config(tmp_path))(table(), Rejects("draw"))


def test_what_is_published_is_png_and_its_provenance(pipeline: Path) -> None:
    settings = config(pipeline)
    model = find_model(str(pipeline), field="draw.model")
    drawn = stage(settings)(table(["a fox"]), Rejects("draw"))
    schema = output_schema(settings, ["id", "prompt"])
    encode = Encoder(constants_of(settings, None, model), model_digest=model.digest)
    encoded = encode(drawn, Rejects("encode"))
    row = in_schema(encoded, schema).to_pylist()[0]
    assert (np.asarray(Image.open(io.BytesIO(row["image"]))) == pixels(drawn)[0]).all()
    assert row["model_digest"] == model.digest
    assert (row["num_steps"], row["guidance_scale"]) == (3, 2.0)
    assert list(image_files(encoded)) == [PieceFile("images/r0.png", row["image"])]
