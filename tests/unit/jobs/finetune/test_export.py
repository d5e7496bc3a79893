"""What is published is what was trained: plain diffusers draws the same picture with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from safetensors import safe_open
from tests.helpers.finetuning import (
    finetune_config,
    finetune_module,
    take_steps,
    trained_weights,
    write_untrained_lora,
)
from tests.helpers.tiny_families import PIXELS, save_tiny

from darkroom.jobs.finetune.export import LORA_FILE, export_full, export_lora
from darkroom.jobs.finetune.module import FinetuneModule
from darkroom.models.families.base import load_base

FAMILIES = ["sd", "sdxl", "sd3", "flux"]
WITH_TEXT: dict[str, Any] = {"text_encoder": {"learning_rate": 1e-2}}


@pytest.fixture(scope="module", params=FAMILIES)
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    name: str = request.param
    return save_tiny(name, tmp_path_factory.mktemp("models") / name)


def trained(base: Path, **changes: Any) -> FinetuneModule:
    module = finetune_module(finetune_config(base, **changes))
    take_steps(module, 3)
    return module.eval()


def picture(pipeline: Any) -> Any:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline(
        prompt="a photo of a cat", num_inference_steps=2, height=PIXELS, width=PIXELS,
        guidance_scale=3.0, generator=torch.Generator().manual_seed(3), output_type="np",
    ).images  # fmt: skip


def plain(folder: Path) -> Any:
    return diffusers.DiffusionPipeline.from_pretrained(folder, local_files_only=True)


def written(module: FinetuneModule, base: Path, folder: Path) -> Path:
    folder.mkdir()
    fresh = load_base(base, field="base", name="base")
    if module.config.method == "full":
        export_full(fresh, trained_weights(module), folder)
    else:
        export_lora(module.config, fresh, trained_weights(module), folder)
    return folder


@pytest.fixture(scope="module")
def lora(base: Path) -> FinetuneModule:
    settings = {"rank": 4, "alpha": 16.0, "targets": "all"}
    return trained(base, lora=settings, **WITH_TEXT)


def test_lora_draws_the_same_in_plain_diffusers(
    base: Path, lora: FinetuneModule, tmp_path: Path
) -> None:
    pipeline = plain(base)
    without = picture(pipeline)
    pipeline.load_lora_weights(written(lora, base, tmp_path / "lora"))
    drawn = picture(pipeline)
    assert np.array_equal(drawn, picture(lora.base.pipeline))
    assert not np.array_equal(drawn, without)


def test_alpha_that_is_no_multiple_of_the_rank_survives(tmp_path: Path) -> None:
    base = save_tiny("sd", tmp_path / "sd")
    module = trained(base, lora={"rank": 3, "alpha": 5.0})
    pipeline = plain(base)
    pipeline.load_lora_weights(written(module, base, tmp_path / "lora"))
    assert np.allclose(picture(pipeline), picture(module.base.pipeline), atol=1e-4)


def test_full_folder_draws_the_same_in_plain_diffusers(base: Path, tmp_path: Path) -> None:
    module = trained(base, method="full", **WITH_TEXT)
    folder = written(module, base, tmp_path / "full")
    drawn = picture(plain(folder))
    assert np.array_equal(drawn, picture(module.base.pipeline))
    assert not np.array_equal(drawn, picture(plain(base)))
    assert not any(str(tmp_path) in path.read_text() for path in folder.rglob("*.json"))


def test_lora_names_are_those_of_published_files(
    base: Path, lora: FinetuneModule, tmp_path: Path
) -> None:
    module = lora
    with safe_open(written(lora, base, tmp_path / "lora") / LORA_FILE, "pt") as file:
        names, metadata = set(file.keys()), file.metadata()
    network = module.base.family.network
    assert all(name.endswith((".lora_A.weight", ".lora_B.weight")) for name in names)
    assert {name.split(".")[0] for name in names} == {
        network, *module.base.family.trainable_text_encoders
    }  # fmt: skip
    assert all(".text_model." in name for name in names if name.startswith("text_encoder"))
    assert json.loads(metadata["lora_adapter_metadata"])[f"{network}.r"] == 4


def test_equal_weights_give_equal_bytes_under_other_hash_seeds(tmp_path: Path) -> None:
    base = save_tiny("sd", tmp_path / "sd")
    program = (
        "import sys; from pathlib import Path\n"
        "from tests.helpers.finetuning import write_untrained_lora\n"
        "write_untrained_lora(Path(sys.argv[1]), Path(sys.argv[2]))\n"
    )
    ours = tmp_path / "ours"
    write_untrained_lora(base, ours)
    for seed in ("1", "2"):  # this process has one of its own
        theirs = tmp_path / seed
        subprocess.run(
            [sys.executable, "-c", program, str(base), str(theirs)],
            check=True, env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path.cwd())},
        )  # fmt: skip
        assert (ours / LORA_FILE).read_bytes() == (theirs / LORA_FILE).read_bytes()
