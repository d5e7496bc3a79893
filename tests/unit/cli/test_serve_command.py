"""`darkroom serve` on the command line: flags, output, how it ends. What serves is faked."""

from __future__ import annotations

import importlib
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from darkroom.cli import main
from darkroom.jobs.serve.config import ServeConfig
from darkroom.jobs.serve.job import Serving


def interrupt() -> None:
    """What comes in place of waiting for ever."""
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What became of the service."""
    ends: list[str] = []

    @contextmanager
    def fake_serving(config: ServeConfig) -> Iterator[Serving]:
        try:
            yield Serving(f"http://{config.host}:{config.port}", config.model_names)
        finally:
            ends.append("drained")

    monkeypatch.setattr("darkroom.jobs.serve.job.serving", fake_serving)
    # By its name the package has the command.
    monkeypatch.setattr(importlib.import_module("darkroom.cli.serve"), "_wait", interrupt)
    return ends


def test_it_prints_the_address_and_drains_when_stopped(
    ended: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "/runs/digits/model", "--port", "8123"]) == 143
    out, err = capfd.readouterr()
    assert out == "Draw at http://127.0.0.1:8123/ (Ctrl-C stops)\n"
    assert err.splitlines()[-1] == "darkroom: stopped"
    assert ended == ["drained"]


def test_json_is_one_object(ended: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "/runs/digits/model", "--json"]) == 143
    shown = json.loads(capfd.readouterr().out)
    assert shown == {"address": "http://127.0.0.1:8000", "models": ["digits"]}


def test_flags_and_settings_are_merged(capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["serve", "s3://b/a", "s3://b/c", "--lora", "ink=s3://b/ink", "--show-config"]
    assert main([*arguments, "--json", "--set", "limits.max_images=3"]) == 0
    shown = json.loads(capfd.readouterr().out)
    assert shown["models"] == ["s3://b/a", "s3://b/c"]
    assert shown["loras"]["ink"]["model"] == "s3://b/ink"
    assert shown["limits"]["max_images"] == 3


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "darkroom: models: is required"),
        (["/m", "--lora", "ink"], "darkroom: --lora: got 'ink', is not NAME=URI"),
        (["/m", "--host", "192.0.2.1"], "set keys"),
        (["/m", "--set", "prot=1"], "did you mean 'port'"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], line: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", *arguments]) == 2
    (only,) = capfd.readouterr().err.splitlines()
    assert line in only
