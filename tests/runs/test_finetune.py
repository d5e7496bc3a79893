"""`finetune` over real Ray and S3: stopped and resumed to equal bytes, drawn with.

It is stopped in this process, and goes on by a worker. Two workers: `make proof`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from tests.helpers.captioned_data import publish_captioned
from tests.helpers.tiny_families import PIXELS, save_tiny

from darkroom.config import build_config
from darkroom.errors import InterruptedBySignal, OutputExistsError
from darkroom.jobs.artifacts.model import FinetunedInfo
from darkroom.jobs.drawing.config import TextDrawingConfig
from darkroom.jobs.drawing.drawer import Drawn, Request
from darkroom.jobs.drawing.lora import find_lora
from darkroom.jobs.drawing.text_to_image import TextToImageDrawer
from darkroom.jobs.finetune.config import FinetuneConfig
from darkroom.jobs.finetune.export import LORA_FILE
from darkroom.jobs.finetune.job import run
from darkroom.models.find import find_model
from darkroom.storage import lineage, open_artifact

STEPS = 30
PROMPT = "a photo of a cat"

pytestmark = pytest.mark.usefixtures("ray_local")


@pytest.fixture(scope="module")
def data(s3_module_uri: str) -> str:
    uri = f"{s3_module_uri}/captioned-photographs"
    publish_captioned(uri)
    return uri


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("sd", tmp_path_factory.mktemp("models") / "sd")


def config(data: str, base: Path, output: str, **changes: Any) -> FinetuneConfig:
    values: dict[str, Any] = {
        "base": str(base), "input": data, "output": output, "max_steps": STEPS, "batch_size": 8,
        "lora": {"rank": 4, "alpha": 8.0, "targets": "all"},
        "text_encoder": {"learning_rate": 1e-3}, "optimizer": {"learning_rate": 1e-2},
        "lr_schedule": {"warmup_steps": 2}, "ema": {"decay": 0.5},
        "validation": {"every_steps": 15, "num_images": 8},
        "checkpoint": {"every_steps": 5, "asynchronous": False}, "log_every_steps": 5,
        "workers": {"num_workers": 1}, "on_existing": "resume", "trigger_words": ["zwk"],
    }  # fmt: skip
    return build_config(FinetuneConfig, {**values, **changes})


def drawer(base: Path, lora: str | None, *, weight: float = 1.0) -> TextToImageDrawer:
    settings = {"num_steps": 2, "guidance_scale": 3.0, "width": PIXELS, "height": PIXELS}
    adapter = None if lora is None else {"model": lora, "weight": weight}
    drawing = build_config(TextDrawingConfig, {**settings, "lora": adapter})
    model = find_model(str(base), field="model")
    return TextToImageDrawer(drawing, model, lora=find_lora(drawing, model))


def picture(drawer: TextToImageDrawer) -> Any:
    (drawn,) = drawer.draw([Request("one", PROMPT, seed=3)])
    assert isinstance(drawn, Drawn)
    return drawn.pixels


@pytest.mark.timeout(1800)
def test_stopped_and_resumed_lora_is_the_undisturbed_one_and_draws(
    data: str, base: Path, bucket_uri: str, tmp_path: Path
) -> None:
    quiet, stopped = f"{bucket_uri}/undisturbed", f"{bucket_uri}/stopped"
    here = {"num_workers": 0}
    run(config(data, base, quiet, workers=here))
    with pytest.raises(InterruptedBySignal):
        run(
            config(data, base, stopped, workers=here),
            on_row=lambda row: "enough" if row["step"] == 10 else None,
        )
    run(config(data, base, stopped))
    undisturbed, resumed = open_artifact(quiet), open_artifact(stopped)
    file = f"model/{LORA_FILE}"
    assert resumed.entry(file).sha256 == undisturbed.entry(file).sha256

    info = FinetunedInfo.of(undisturbed)
    assert (info.family, info.method, info.step) == ("sd", "lora", STEPS)
    log = undisturbed.read_table("metrics.parquet").to_pydict()
    first, *_, last = (loss for loss in log["validation_loss"] if loss is not None)
    assert last < first
    assert {parent.role for parent in undisturbed.manifest.parents} == {
        "data", "base", "checkpoint"
    }  # fmt: skip
    assert lineage(undisturbed.uri).ok

    folder = undisturbed.download(tmp_path / "published") / "model"
    assert "`zwk`" in (folder / "model_card.md").read_text()
    plain = diffusers.DiffusionPipeline.from_pretrained(base, local_files_only=True)
    plain.set_progress_bar_config(disable=True)
    plain.load_lora_weights(folder)
    drawn = plain(
        prompt=[PROMPT], num_inference_steps=2, guidance_scale=3.0, width=PIXELS, height=PIXELS,
        generator=[torch.Generator().manual_seed(3)], output_type="np",
    ).images[0]  # fmt: skip
    ours = picture(drawer(base, quiet))
    assert np.array_equal(ours, (drawn.clip(0, 1) * 255).round().astype(np.uint8))
    without = picture(drawer(base, None))
    assert not np.array_equal(ours, without)
    assert np.array_equal(picture(drawer(base, quiet, weight=0.0)), without)

    other = save_tiny("sd", tmp_path / "other", seed=1)
    with pytest.raises(OutputExistsError, match="begun from other input"):
        run(config(data, other, quiet))
