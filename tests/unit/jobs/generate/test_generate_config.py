"""What the config refuses before anything starts, and what its digest knows."""

from __future__ import annotations

from typing import Any

import pytest

from darkroom.config import build_config
from darkroom.errors import ConfigError
from darkroom.jobs.generate.config import (
    ClassConditionalConfig,
    GenerateConfig,
    TextToImageConfig,
)
from darkroom.jobs.generate.preflight import check_memory

MB = 1024**2


def build(**values: Any) -> GenerateConfig:
    return build_config(GenerateConfig, {"input": "in", "output": "out", **values})


def test_a_model_alone_means_a_text_to_image_pipeline() -> None:
    draw = build(draw={"model": "/x"}).draw
    assert isinstance(draw, TextToImageConfig)
    assert draw.model == "/x"
    assert build().draw == TextToImageConfig(model="stabilityai/sdxl-turbo")
    kind = {"kind": "class_conditional", "model": "/x"}
    assert isinstance(build(draw=kind).draw, ClassConditionalConfig)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"draw": {"kind": "drawing"}}, "must be text_to_image or class_conditional"),
        ({"draw": {"numsteps": 3}}, "did you mean 'num_steps'"),
        ({"draw": {"width": 500}}, "multiple of 8"),
        ({"draw": {"num_gpus": 1.5}}, "num_gpus above 1 must be whole"),
        ({"draw": {"device": "cuda"}}, "Ray hides the GPU"),
        ({"enhance": {"num_cpus": 0.0}}, "a worker needs one of them"),
        ({"prompt": "always the same"}, "names no column"),
        ({"prompt": "{a"}, "lone '{'"),
        ({"choices": {"season": []}}, "at least 1"),
        ({"choices": {"seed": ["1"]}}, "seed is a column of the output"),
        ({"choices": {"{a}": ["1"]}}, "match pattern"),
        ({"id": "{season}", "choices": {"season": ["x"]}}, "which is drawn by the id"),
        ({"draw": None, "signing": {"key": "k", "certificate": "c"}}, "signing is of pictures"),
        ({"signing": {"key": "k"}}, "signing.certificate: is required"),
        ({"draw": {"kind": "class_conditional", "model": "m", "eta": 0.5, "sampler": "ddpm"}},
         "eta belongs to ddim"),
    ],
)  # fmt: skip
def test_a_fault_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(**values)


@pytest.mark.parametrize(
    ("values", "same"),
    [
        ({"draw": {"num_workers": 3, "num_cpus": 2.0}}, True),
        ({"max_restarts": 4}, True),
        ({"draw": {"batch_size": 3}}, False),
        ({"piece_rows": 3}, False),
        ({"draw": {"num_steps": 3}}, False),
        ({"choices": {"season": ["spring"]}}, False),
    ],
)
def test_the_digest_knows_what_decides_the_bytes(values: dict[str, Any], same: bool) -> None:
    assert (build(**values).digest == build().digest) == same


def test_weights_that_do_not_fit_this_machine_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    two = TextToImageConfig(num_workers=2)
    loaded = [("draw", two, 600 * MB), ("enhance", two, 0)]
    check_memory(loaded, available_bytes=1200 * MB)
    with pytest.raises(ConfigError, match=r"1200 MiB \(draw 2 x 600 MiB\).*1199 MiB free"):
        check_memory(loaded, available_bytes=1199 * MB)
    check_memory([("draw", TextToImageConfig(num_gpus=1.0), 600 * MB)], available_bytes=0)
    monkeypatch.setenv("RAY_ADDRESS", "cluster:6379")
    check_memory(loaded, available_bytes=0)
