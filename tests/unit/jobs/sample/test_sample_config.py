"""What the config refuses before anything starts."""

from __future__ import annotations

from typing import Any

import pytest

from darkroom.config import build_config
from darkroom.errors import ConfigError
from darkroom.jobs.sample.config import SampleConfig


def build(**values: Any) -> SampleConfig:
    return build_config(SampleConfig, {"input": "in", "output": "out", **values})


def test_limit_caps_the_number_of_pictures() -> None:
    assert build(num_images=500).total == 500
    assert build(num_images=500, limit=20).total == 20
    assert build(num_images=5, limit=20).total == 5


@pytest.mark.parametrize(("given", "frames"), [(True, 8), (False, 0), (5, 5), (0, 0)])
def test_strip_is_a_switch_or_a_number(given: bool | int, frames: int) -> None:
    assert build(strip=given).strip == frames


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"eta": 0.5, "sampler": "ddpm"}, "eta belongs to ddim"),
        ({"strip": 1}, "at least 2 frames"),
        ({"strip": 9, "num_steps": 5}, "needs at least 8 steps"),
        ({"num_gpus": 1.5}, "must be whole"),
        ({"device": "cuda"}, "num_gpus"),
        ({"num_cpus": 0.0}, "a worker needs one of them"),
        ({"classes": []}, "classes"),
        ({"sampler": "euler"}, "sampler"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        build(**values)


def test_how_the_work_is_shared_stays_out_of_the_digest() -> None:
    one, other = build(), build(batch_size=7, num_workers=1, num_gpus=0.5, channels_last=True)
    assert one.digest == other.digest
    assert one.digest != build(num_steps=20).digest
