"""The functions of `darkroom.api` build the command line's configs, and raise its one line."""

from __future__ import annotations

import importlib
import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest

import darkroom
from darkroom import api
from darkroom.cli import main
from darkroom.config import JobConfig
from darkroom.errors import ConfigError, ObjectNotFoundError

VERBS = (
    "prepare", "cache", "train", "finetune", "tune", "sample", "evaluate", "classify", "generate",
    "report",
)  # fmt: skip


class Seen(Exception):  # noqa: N818 - it stands for the job
    def __init__(self, config: JobConfig) -> None:
        self.config = config.to_dict()


@pytest.fixture
def config_of(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The config that a call would run."""

    def run(config: JobConfig) -> None:
        raise Seen(config)

    def config(verb: str, **values: Any) -> dict[str, Any]:
        monkeypatch.setattr(importlib.import_module(f"darkroom.jobs.{verb}.job"), "run", run)
        with pytest.raises(Seen) as seen:
            getattr(api, verb)(**values)
        return seen.value.config

    return config


def command_config(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main([*arguments, "--show-config", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_a_typed_function_of_its_configs_fields(verb: str) -> None:
    module = importlib.import_module(f"darkroom.jobs.{verb}.config")
    fields = getattr(module, f"{verb.title()}Config").model_fields
    function = getattr(api, verb)
    unknown = set(inspect.signature(function).parameters) - {
        "recipe",
        "config",
        "settings",
        *fields,
    }
    assert unknown == ({"input"} if verb == "prepare" else set())
    assert function.__annotations__["return"] not in ("Published", "None")
    assert Path(__file__).parents[2].joinpath(f"docs/verbs/{verb}.md").exists()
    assert f"docs/verbs/{verb}.md" in function.__doc__


def test_the_package_has_them_all() -> None:
    assert {*VERBS, "open"} <= set(dir(darkroom))
    assert darkroom.train is api.train
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = darkroom.trian  # type: ignore[attr-defined]


def test_a_call_builds_the_config_of_the_command(
    config_of: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    called = config_of(
        "train", recipe="digits", input="data", output=Path("model"), max_steps=300,
        optimizer={"learning_rate": 1e-3}, on_existing="resume",
    )  # fmt: skip
    assert called == command_config(
        capsys, "train", "--recipe", "digits", "--input", "data", "--output", "model", "--resume",
        "--set", "max_steps=300", "--set", "optimizer.learning_rate=1e-3",
    )  # fmt: skip


def test_prepare_reads_a_folder_unless_a_recipe_says_otherwise(
    config_of: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert config_of("prepare", input=Path("pictures"), output="data") == command_config(
        capsys, "prepare", "--input", "pictures", "--output", "data"
    )
    assert config_of("prepare", recipe="digits", output="data") == command_config(
        capsys, "prepare", "--recipe", "digits", "--output", "data"
    )


def test_keywords_win_over_the_file_and_the_file_over_the_recipe(
    config_of: Any, tmp_path: Path
) -> None:
    file = tmp_path / "train.yaml"
    file.write_text("max_steps: 500\noptimizer: {learning_rate: 0.5, eps: 0.25}\n")
    config = config_of(
        "train", recipe="digits", config=file, input="data", output="model",
        optimizer={"learning_rate": 0.75},
    )  # fmt: skip
    assert (config["max_steps"], config["batch_size"]) == (500, 128)
    assert (config["optimizer"]["learning_rate"], config["optimizer"]["eps"]) == (0.75, 0.25)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"max_stepz": 3}, "max_stepz: unknown key; did you mean 'max_steps'?"),
        ({"optimizer": {"learing_rate": 1.0}}, "optimizer.learing_rate: unknown key; did you"),
        ({"max_steps": 0}, "max_steps: got 0, input should be greater than or equal to 1"),
        ({"recipe": "digitz"}, "got 'digitz', no such recipe; did you mean"),
        ({"max_steps": object()}, "config: is not plain data"),
    ],
)
def test_what_can_be_mended_is_one_line(settings: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(line)) as error:
        api.train(**{"recipe": "digits", "input": "data", "output": "model", **settings})
    assert "\n" not in str(error.value)


def test_nothing_published_is_an_error_with_the_place(tmp_path: Path) -> None:
    with pytest.raises(ObjectNotFoundError, match="nothing is published at"):
        api.open(tmp_path)
