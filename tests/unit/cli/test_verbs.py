"""The command line turns flags, recipes and files into a config, and every fault into one line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from darkroom.cli import main
from darkroom.config_source import read_file

PATHS = ("--input", "/in", "--output", "/out")


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Any:
    def run_main(*arguments: str) -> tuple[int, str, str]:
        code = main(arguments)
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return run_main


@pytest.fixture
def config_of(run: Any) -> Any:
    def config(*arguments: str) -> Any:
        code, out, err = run(*arguments, "--show-config", "--json")
        assert code == 0, err
        return json.loads(out)

    return config


def test_flags_reach_their_fields(config_of: Any) -> None:
    config = config_of(
        "sample", *PATHS, "--recipe", "digits", "--seed", "7", "--limit", "3", "--num-images", "9",
        "--classes", "0,three, 5", "--sampler", "dpm-solver++", "--steps", "20",
        "--guidance-scale", "2.5", "--strip", "--set", "eta=0.0", "--set", "clip=false",
    )  # fmt: skip
    expected = {
        "input": "/in",
        "output": "/out",
        "seed": 7,
        "limit": 3,
        "num_images": 9,
        "classes": ["0,three, 5"],
        "sampler": "dpm-solver++",
        "num_steps": 20,
        "guidance_scale": 2.5,
        "clip": False,
    }
    assert {key: config[key] for key in expected} == expected
    assert config["strip"] > 1


def test_flags_reach_nested_fields(config_of: Any) -> None:
    config = config_of("train", *PATHS, "--recipe", "digits", "--num-workers", "2")
    assert config["workers"]["num_workers"] == 2


def test_input_is_a_folder_of_pictures_unless_the_recipe_says_otherwise(config_of: Any) -> None:
    assert config_of("prepare", *PATHS)["source"] == {"kind": "image_folder", "uri": "/in"}
    source = config_of("prepare", *PATHS, "--recipe", "mnist")["source"]
    assert (source["kind"], source["uri"]) == ("idx", "/in")


@pytest.mark.parametrize(
    ("flags", "policy"),
    [((), "refuse"), (("--resume",), "resume"), (("--overwrite",), "overwrite")],
)
def test_what_happens_to_an_existing_output(
    config_of: Any, flags: tuple[str, ...], policy: str
) -> None:
    assert config_of("report", *PATHS, *flags)["on_existing"] == policy


def test_show_config_can_be_read_back(run: Any, config_of: Any, tmp_path: Path) -> None:
    arguments = ("train", *PATHS, "--recipe", "digits", "--set", "ema.decay=0.5")
    code, out, _ = run(*arguments, "--show-config")
    assert code == 0
    path = tmp_path / "train.yaml"
    path.write_text(out)
    shown = config_of(*arguments)
    assert read_file(path) == shown
    assert config_of("train", "--config", str(path)) == shown


BAD: list[tuple[tuple[str, ...], str]] = [
    (("train", "--limt", "3"), r"train: no such option: --limt \(Possible options: .*--limit"),
    (("trian",), r"command: no such command 'trian'. Did you mean 'train'\?; see darkroom --help"),
    (("train", "extra"), r"train: got unexpected extra argument"),
    (("train", "--seed"), r"train: option '--seed' requires an argument"),
    (("storage",), r"storage: missing command; see darkroom storage --help"),
    (("storage", "sevre"), r"storage: no such command 'sevre'. Did you mean 'serve'"),
    (("storage", "serve"), r"storage serve: missing option '--data'"),
    (("train", "--recipe", "digts"), r"--recipe: got 'digts', no such recipe; did you mean digits"),
    (
        ("train", "--recipe", "x"),
        r"--recipe: got 'x', no such recipe; known recipes: digits, digits_smoke",
    ),
    (("train", "--resume", "--overwrite"), r"--resume: contradicts --overwrite; give one of them"),
    (("train", "--recipe", "digits"), r"output: is required"),
    (("train", *PATHS, "--seed", "x"), r"seed: got 'x', input should be a valid integer"),
    (("train", *PATHS, "--seed="), r"seed: got '', input should be a valid integer"),
    (("train", *PATHS, "--seed", "4294967296"), r"seed: got 4294967296, .*4294967295"),
    (("train", *PATHS, "--limit", "0"), r"limit: got 0, .*greater than or equal to 1"),
    (("train", *PATHS, "--set", "unet.dropuot=1"), r"unet.dropuot: unknown key; .*'dropout'"),
    (("train", *PATHS, "--set", "max_steps="), r"--set max_steps: got '', is empty"),
    (("train", *PATHS, "--config", "nix.yaml"), r"--config: got 'nix.yaml', cannot be read"),
    (("sample", *PATHS, "--sampler", "dddim"), r"sampler: got 'dddim', .*'ddim'"),
]


@pytest.mark.parametrize(("arguments", "line"), BAD)
def test_bad_input_is_one_line_and_exit_code_2(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*arguments)
    assert code == 2
    assert out == ""
    assert re.fullmatch(rf"darkroom: {line}.*\n", err), err
    assert not list(tmp_path.iterdir()), "nothing may be written"


@pytest.mark.parametrize("arguments", [arguments for arguments, _ in BAD if len(arguments) > 1])
def test_bad_input_is_json_when_asked(run: Any, arguments: tuple[str, ...]) -> None:
    code, out, err = run(arguments[0], "--json", *arguments[1:])
    error = json.loads(out)
    assert code == error["exit_code"] == 2
    assert err == f"darkroom: {error['error']['message']}\n"


def test_a_json_after_the_separator_is_not_ours(run: Any) -> None:
    code, out, _ = run("storage", "serve", "--", "x", "--json")
    assert (code, out) == (2, "")


def test_no_arguments_show_the_help(run: Any) -> None:
    assert run() == run("--help")


def test_recipes_are_listed_with_what_they_are_for(run: Any) -> None:
    code, out, _ = run("recipes")
    assert code == 0
    assert re.search(r"^digits +\S", out, re.MULTILINE)
    assert set(json.loads(run("recipes", "--json")[1])) >= {"digits", "digits_smoke"}
