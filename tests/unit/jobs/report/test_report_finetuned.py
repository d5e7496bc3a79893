"""The page of a fine-tuned model: its film strip, its curves, and what it refuses."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.helpers.pictures import crops

from darkroom.config import JobConfig, build_config
from darkroom.errors import ConfigError
from darkroom.jobs.artifacts.model import FinetunedInfo
from darkroom.jobs.report.config import ReportConfig
from darkroom.jobs.report.finetuned import spread
from darkroom.jobs.report.job import run
from darkroom.jobs.training.metrics_log import MetricsLog
from darkroom.jobs.training.picture_log import DrawnPicture
from darkroom.pages.sheet import png_bytes
from darkroom.storage import Artifact, open_artifact, open_output

PROMPTS = ("a cat", "a <rocket>")
STEPS = range(0, 130, 10)


def log(*, pictures: bool) -> MetricsLog:
    filled = MetricsLog()
    for step in STEPS[1:]:
        values = {"loss": 1 / step, "learning_rate": 1e-3, "learning_rate/text_encoder": 1e-5}
        terms = {"loss/mse": 1 / step, "loss/adversarial": 0.1 - 1 / step}
        norms = {f"grad_norm/unet.down_blocks.{block}": 1 + block / step for block in range(14)}
        filled.add(step, **values, **terms, **norms, grad_norm=1.0, images_per_second=9.0)
    if pictures:
        (photo,) = (np.asarray(each.resize((512, 512))) for each in list(crops("chelsea", 1)))
        for step in STEPS:
            faded = (photo * (step / STEPS[-1])).astype(np.uint8)
            filled.drawn.add(step, [DrawnPicture(each, 3, png_bytes(faded)) for each in PROMPTS])
    return filled


def publish(uri: Path, *, pictures: bool = True) -> Artifact:
    with (
        open_output(str(uri), kind="model", config=JobConfig(output=str(uri))) as output,
        tempfile.TemporaryDirectory() as folder,
    ):
        (Path(folder) / "model").mkdir()
        (Path(folder) / "model" / "model_card.md").write_text("# A LoRA\n")
        log(pictures=pictures).write(Path(folder))
        info = FinetunedInfo(
            family="sd", method="lora", base_digest="5" * 64, base_license="mit",
            trigger_words=(), image_sizes=((512, 512), (384, 640)), step=120, seconds=60.0,
            final={"loss": 0.008, "validation_loss": None},
        )  # fmt: skip
        files = output.writer.write_tree(Path(folder))
        return output.publish(files, metadata=info.to_metadata())


def page_of(model: Artifact, output: Path, **values: Any) -> str:
    config = {"input": str(model.uri), "output": str(output), **values}
    run(build_config(ReportConfig, config))
    return open_artifact(output).read_bytes("report.html").decode()


def test_the_page_shows_the_film_and_every_curve(tmp_path: Path) -> None:
    page = page_of(publish(tmp_path / "model"), tmp_path / "report")
    assert re.findall(r"<h2>(.*?)</h2>", page) == [
        "Pictures on the way", "Training", "Model card", "Settings", "Provenance"
    ]  # fmt: skip
    assert "a cat (seed 3)" in page
    assert "a &lt;rocket&gt; (seed 3)" in page
    frames = [f"a cat at step {step}" for step in (0, 20, 30, 50, 70, 90, 100, 120)]
    assert re.findall(r'alt="(a cat at step \d+)"', page) == frames
    for said in (
        "Terms of the loss", "adversarial", "Learning rate of each group", "text_encoder",
        "Gradient norm of each block, before clipping (10 of 14, the largest)",
        "unet.down_blocks.13", "A LoRA for sd model", "120 steps",
        "trained at 512 x 512 and 640 x 384 pixels",
    ):  # fmt: skip
        assert said in page, said
    assert "unet.down_blocks.1<" not in page
    assert "Norm of each block&#39;s weights" not in page


def test_without_pictures_there_is_no_film(tmp_path: Path) -> None:
    page = page_of(publish(tmp_path / "model", pictures=False), tmp_path / "report")
    assert "Pictures on the way" not in page


def test_samples_are_refused(tmp_path: Path) -> None:
    model = publish(tmp_path / "model", pictures=False)
    with pytest.raises(ConfigError, match=r"samples: .* does not belong to a fine-tuned model"):
        page_of(model, tmp_path / "report", samples=str(tmp_path / "samples"))


def test_frames_are_spread_with_the_first_and_the_last() -> None:
    assert spread([3, 5]) == [3, 5]
    found = spread(list(range(100)))
    assert (len(found), found[0], found[-1]) == (8, 0, 99)
