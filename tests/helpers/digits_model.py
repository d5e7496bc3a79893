"""The digits recipe's model, trained in this process: what it draws is recognisable.

SERVE_PROOF_STEPS sets for how many steps (300 by default).
"""

from __future__ import annotations

import os
from pathlib import Path

from tests.helpers.tiny_artifacts import publish_digits

from darkroom.config import build_config
from darkroom.jobs.train.config import TrainConfig
from darkroom.jobs.train.job import run
from darkroom.recipes.digits import digits

NUM_TRAIN_STEPS = int(os.environ.get("SERVE_PROOF_STEPS", "300"))


def train(root: Path) -> str:
    """Its place below the root."""
    publish_digits(root / "data")
    values = digits().settings(TrainConfig) | {
        "input": str(root / "data"), "output": str(root / "model"), "max_steps": NUM_TRAIN_STEPS,
        "workers": {"num_workers": 0}, "checkpoint": {"every_steps": None},
        "validation": {"every_steps": NUM_TRAIN_STEPS},
    }  # fmt: skip
    run(build_config(TrainConfig, values))
    return str(root / "model")
