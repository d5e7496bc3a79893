"""The model card tells how the very model is called."""

from __future__ import annotations

from typing import Any

import pytest

from darkroom.jobs.train.model_card import model_card

METADATA: dict[str, Any] = {
    "classes": ["cat", "dog"],
    "image_size": [8, 6],
    "channels": 3,
    "null_class": 2,
    "schedule": {"kind": "cosine", "num_timesteps": 100},
    "prediction_type": "epsilon",
    "step": 7,
    "final": {"loss": 0.25, "validation_loss": None},
}


def card(*, conditional: bool = True, **changes: Any) -> str:
    values = {**METADATA, **changes}
    return model_card(
        values, conditional=conditional, dataset_uri="s3://b/data", dataset_digest="d"
    )


@pytest.mark.parametrize(
    ("text", "there", "absent"),
    [
        (card(), "label 2 is the null class", "pipeline(batch_size"),
        (card(null_class=None), "The network takes `class_labels`.", "null class"),
        (card(conditional=False, null_class=None), "pipeline(batch_size=4)", "class_labels"),
    ],
)
def test_usage_follows_the_network(text: str, there: str, absent: str) -> None:
    assert there in text
    assert absent not in text


def test_figures_that_were_not_measured_are_said_so() -> None:
    assert "| validation loss | not measured |" in card()
