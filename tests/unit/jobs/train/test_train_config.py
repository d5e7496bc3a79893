"""A training config that cannot work is refused in one line that says what to change."""

from __future__ import annotations

from typing import Any

import pytest

from darkroom.config import build_config
from darkroom.errors import ConfigError
from darkroom.jobs.train.config import TrainConfig

VALID: dict[str, Any] = {"input": "data", "output": "model"}

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "more workers than images": (
        {"batch_size": 3, "workers": {"num_workers": 4}},
        "batch_size 3 leaves some of the 4 workers without an image",
    ),
    "no steps": ({"max_steps": 0}, "greater than or equal to 1"),
    "checkpoints further apart than the run": (
        {"max_steps": 900, "checkpoint": {"every_steps": 1000}},
        "lower it or set it to null",
    ),
    "warm-up as long as the run": (
        {"max_steps": 500, "checkpoint": {"every_steps": 10}},
        "warmup_steps 500 leaves nothing",
    ),
    "ema decay of one": ({"ema": {"decay": 1.0}}, "less than 1"),
    "negative learning rate": ({"optimizer": {"learning_rate": -1e-3}}, "greater than 0"),
    "nan learning rate": ({"optimizer": {"learning_rate": float("nan")}}, "finite"),
    "misspelt key": ({"optimizer": {"learing_rate": 1e-3}}, "did you mean 'learning_rate'?"),
    "epsilon under zero terminal snr": (
        {"schedule": {"zero_terminal_snr": True}},
        "use v_prediction or sample",
    ),
    "channels not divisible by groups": (
        {"unet": {"block_out_channels": [48], "norm_num_groups": 32}},
        "not a multiple of norm_num_groups",
    ),
    "export best without checkpoints at validations": (
        {"export": "best", "validation": {"every_steps": 300}},
        "make validation.every_steps 300 a multiple",
    ),
    "seed beyond 32 bits": ({"seed": 2**32}, "less than or equal to 4294967295"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(case: str) -> None:
    values, expected = REFUSED[case]
    with pytest.raises(ConfigError, match=None) as caught:
        build_config(TrainConfig, VALID | values)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_defaults_are_valid_and_complete() -> None:
    config = build_config(TrainConfig, VALID)
    assert build_config(TrainConfig, config.to_dict()) == config


def test_how_it_runs_is_no_part_of_the_digest() -> None:
    base = build_config(TrainConfig, VALID)
    moved: dict[str, Any] = {
        "input": "elsewhere",
        "output": "other",
        "log_every_steps": 7,
        "workers": {"num_workers": 3},
        "optimizer": {"accumulation_steps": 5},
        "checkpoint": {"every_steps": 10, "keep_last": 9},
    }
    assert build_config(TrainConfig, moved).digest == base.digest
    assert build_config(TrainConfig, VALID | {"batch_size": 64}).digest != base.digest


@pytest.mark.parametrize(
    ("batch_size", "num_workers", "accumulation_steps", "largest_share", "micro_batch_size"),
    [(32, 1, 1, 32, 32), (32, 3, 1, 11, 11), (32, 3, 2, 11, 6), (32, 2, 5, 16, 4), (3, 3, 9, 1, 1)],
)
def test_a_batch_is_shared_out_evenly(
    batch_size: int,
    num_workers: int,
    accumulation_steps: int,
    largest_share: int,
    micro_batch_size: int,
) -> None:
    values: dict[str, Any] = {
        "batch_size": batch_size,
        "workers": {"num_workers": num_workers},
        "optimizer": {"accumulation_steps": accumulation_steps},
    }
    config = build_config(TrainConfig, VALID | values)
    assert config.largest_share == largest_share
    assert config.micro_batch_size == micro_batch_size
