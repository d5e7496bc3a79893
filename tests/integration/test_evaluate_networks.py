"""A whole evaluation by networks: pictures of prompts that a text-to-image model drew.

In this process; the networks are tiny and of random weights, so the figures say nothing, and what
is held is that each is there, with what made it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.helpers.captioned_data import CAPTION_OF, publish_captioned
from tests.helpers.feature_networks import save_timm, save_tiny_clip
from tests.helpers.tiny_families import save_tiny

from darkroom.config import build_config
from darkroom.jobs.evaluate.config import EvaluateConfig
from darkroom.jobs.evaluate.job import run as evaluate
from darkroom.jobs.sample.config import SampleConfig
from darkroom.jobs.sample.job import run as sample
from darkroom.storage import Artifact, open_artifact

pytestmark = pytest.mark.usefixtures("here")

NUM_IMAGES = 8


def drawn(folder: Path) -> Artifact:
    model = save_tiny("sd", folder / "model")
    sample(
        build_config(
            SampleConfig,
            {
                "input": str(model), "output": str(folder / "samples"), "num_images": NUM_IMAGES,
                "num_steps": 2, "text": {"prompts": list(CAPTION_OF.values())},
            },
        )
    )  # fmt: skip
    return open_artifact(folder / "samples")


def test_every_figure_of_the_networks_that_are_given(tmp_path: Path) -> None:
    data = publish_captioned(tmp_path / "data", num_each=10, num_test=4)
    samples = drawn(tmp_path)
    networks: dict[str, Any] = {
        "clip": {"model": str(save_tiny_clip(tmp_path / "clip"))},
        "timm": {"name": "resnet10t", "weights": str(save_timm(tmp_path / "timm.pth"))},
    }
    evaluate(
        build_config(
            EvaluateConfig,
            {
                "input": str(samples.uri), "reference": str(data.uri), "networks": networks,
                "output": str(tmp_path / "evaluation"), "num_bootstrap": 20, "num_floor_draws": 2,
            },
        )
    )  # fmt: skip
    found = open_artifact(tmp_path / "evaluation")
    values = found.read_json("metrics.json")
    metrics = values["metrics"]
    of_each = ("frechet", "kernel", "precision", "recall", "density", "coverage", "memorisation")
    wanted = {f"{name}_{features}" for features in ("clip", "timm") for name in of_each}
    assert wanted | {"cmmd_clip", "clip_score"} <= set(metrics), values
    for name in wanted | {"cmmd_clip", "clip_score"}:
        assert metrics[name]["n"] == NUM_IMAGES
        assert metrics[name]["lower"] <= metrics[name]["value"] <= metrics[name]["upper"], name
    assert 0 <= metrics["clip_score"]["value"] <= 100
    roles = {parent.role for parent in found.manifest.parents}
    assert {"samples", "reference"} < roles
    assert len(roles) == 4, "each network is a parent"
