"""Small studies of real runs on digits: a network of 8 and 16 channels, 16 steps."""

from __future__ import annotations

from typing import Any

from darkroom.config import build_config
from darkroom.jobs.tune.config import TuneConfig
from darkroom.jobs.tune.study import EndedTrial, Study

RUN: dict[str, Any] = {
    "max_steps": 16,
    "batch_size": 32,
    "unet": {
        "block_out_channels": [8, 16], "layers_per_block": 1, "attention_resolutions": [4],
        "norm_num_groups": 4,
    },
    "schedule": {"num_timesteps": 100},
    "lr_schedule": {"warmup_steps": 2},
    "ema": {"decay": 0.9},
    "validation": {"every_steps": 4, "num_images": 32},
    "checkpoint": {"every_steps": 4, "asynchronous": False},
    "log_every_steps": 2,
    "workers": {"num_workers": 0},
}  # fmt: skip
SPACE: dict[str, Any] = {
    "optimizer.learning_rate": {"kind": "float", "low": 1e-4, "high": 3e-1, "log": True},
    "lr_schedule.kind": {"kind": "choice", "values": ["constant", "cosine"]},
}


def study_values(data: str, output: str, **changes: Any) -> dict[str, Any]:
    """A study of four trials in one process."""
    return {
        "input": data, "output": output, "run": RUN, "space": SPACE, "trials_at_once": 1,
        "search": {"kind": "bayes", "num_trials": 4, "num_random": 2}, **changes,
    }  # fmt: skip


def study_config(data: str, output: str, **changes: Any) -> TuneConfig:
    """The same as a config."""
    return build_config(TuneConfig, study_values(data, output, **changes))


def trials_of(config: TuneConfig) -> list[EndedTrial]:
    """The trials that have ended, by the journal."""
    return Study(config, lambda: None).ended()


def shown(trials: list[EndedTrial]) -> list[Any]:
    """What must not depend on kills."""
    return [
        (trial.number, trial.tried, trial.ending.state, trial.ending.value, trial.seen)
        for trial in trials
    ]
