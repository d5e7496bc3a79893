"""The model card tells how the very model is called."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from darkroom.diffusion.config import ScheduleConfig
from darkroom.jobs.artifacts.model import ModelInfo
from darkroom.jobs.train.model_card import model_card

INFO = ModelInfo(
    classes=("cat", "dog"),
    image_size=(8, 6),
    channels=3,
    class_conditional=True,
    null_class=2,
    schedule=ScheduleConfig(num_timesteps=100),
    prediction_type="epsilon",
    step=7,
    seconds=1.0,
    final={"loss": 0.25, "validation_loss": None},
)


def card(**changes: Any) -> str:
    return model_card(replace(INFO, **changes), dataset_content="d" * 64)


@pytest.mark.parametrize(
    ("text", "there", "absent"),
    [
        (card(), "label 2 is the null class", "pipeline(batch_size"),
        (card(null_class=None), "The network takes `class_labels`.", "null class"),
        (card(class_conditional=False, null_class=None), "pipeline(batch_size=4)", "class_labels"),
    ],
)
def test_usage_follows_the_network(text: str, there: str, absent: str) -> None:
    assert there in text
    assert absent not in text


def test_figures_that_were_not_measured_are_said_so() -> None:
    assert "| validation loss | not measured |" in card()


def test_the_data_is_named_by_its_content() -> None:
    assert f"`{'d' * 64}`" in card()
