"""What the command line promises before any job runs: lightness, agreement with configs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest

from darkroom.cli.verbs import SHARED_FLAGS, VERBS, Verb
from darkroom.config import JobConfig, build_config
from darkroom.errors import ConfigError
from darkroom.jobs.train.config import TrainConfig
from darkroom.recipes import RECIPES

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"torch", "ray", "lightning", "diffusers", "transformers", "boto3", "pyarrow", "numpy"}


each_verb = pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
each_verb_of_each_recipe = pytest.mark.parametrize(
    ("verb", "recipe"),
    [
        pytest.param(verb, name, id=f"{name}-{verb.name}")
        for name, make in RECIPES.items()
        for verb in VERBS
        if verb.name in make().verbs
    ],
)


def modules_after(code: str) -> set[str]:
    """Names of the top-level modules that a fresh interpreter has after running `code`."""
    program = f"{code}\nimport sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    run = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    return set(run.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "arguments",
    [
        *(["--help"], ["train", "--help"], ["submit", "--help"]),
        *(["storage", "serve", "--help"], ["storage", "get", "--help"]),
    ],
)
def test_help_imports_no_heavy_library(arguments: list[str]) -> None:
    loaded = modules_after(f"from darkroom.cli import main; assert main({arguments!r}) == 0")
    assert "darkroom" in loaded
    assert not loaded & (HEAVY | {"pydantic", "ruamel", "rich", "kubernetes"})


def test_the_python_functions_are_there_before_any_library() -> None:
    loaded = modules_after("import darkroom; darkroom.train, darkroom.open")
    assert not loaded & (HEAVY | {"pydantic", "ruamel", "typer"})


@each_verb
def test_show_config_imports_neither_ray_nor_torch(verb: Verb) -> None:
    arguments = [verb.name, "--output", "b", "--show-config"]
    if verb.name in RECIPES["digits"]().verbs:
        arguments += ["--recipe", "digits"]
    if verb.name != "prepare":  # the recipe names its source
        arguments += ["--input", "a"]
    arguments += ["--reference", "c"] if verb.name == "evaluate" else []
    arguments += ["--base", "c"] if verb.name == "cache" else []
    arguments += ["--base", "d"] if verb.name == "finetune" else []
    loaded = modules_after(f"from darkroom.cli import main; assert main({arguments!r}) == 0")
    assert "pydantic" in loaded
    assert not loaded & HEAVY


def test_settings_of_serve_import_neither_ray_nor_torch() -> None:
    arguments = ["serve", "a", "--show-config"]
    loaded = modules_after(f"from darkroom.cli import main; assert main({arguments!r}) == 0")
    assert "pydantic" in loaded
    assert not loaded & (HEAVY | {"fastapi", "starlette"})


def test_recipes_need_no_heavy_library() -> None:
    loaded = modules_after("from darkroom.recipes import RECIPES; [f() for f in RECIPES.values()]")
    assert not loaded & HEAVY


def required(verb: Verb) -> dict[str, str]:
    """A text for each field that has no default."""
    fields = verb.config_type.model_fields
    return {name: "somewhere" for name, field in fields.items() if field.is_required()}


def minimal(verb: Verb, recipe: str | None = None) -> dict[str, Any]:
    """Plain values that build the verb's config: a recipe's, and a text for what is required."""
    if recipe is None and verb.name in RECIPES["digits"]().verbs:
        recipe = "digits"
    return {**required(verb), **(RECIPES[recipe]().settings(verb.config_type) if recipe else {})}


@each_verb_of_each_recipe
def test_every_recipe_builds(verb: Verb, recipe: str) -> None:
    config = build_config(verb.config_type, minimal(verb, recipe))
    assert isinstance(config, JobConfig)
    typed = RECIPES[recipe]().config(verb.config_type)
    assert not {"input", "output"} & typed.keywords.keys()
    assert typed(**{**required(verb), **typed.keywords}) == config


def test_recipes_are_found_under_their_own_names() -> None:
    assert {name: make().name for name, make in RECIPES.items()} == {name: name for name in RECIPES}


def test_the_smoke_recipe_is_short() -> None:
    assert RECIPES["digits_smoke"]().settings(TrainConfig)["max_steps"] <= 100


def mappings(annotation: Any) -> list[Any]:
    """The config classes that a field may hold, whether optional, annotated or one of several."""
    if hasattr(annotation, "model_fields"):
        return [annotation]
    return [found for part in get_args(annotation) for found in mappings(part)]


@each_verb
def test_every_flag_sets_a_field_that_exists(verb: Verb) -> None:
    for flag in (*verb.flags, *SHARED_FLAGS):
        if flag.field is None:
            continue
        nodes: list[Any] = [verb.config_type]
        for part in flag.field.split("."):
            fields = [node.model_fields[part] for node in nodes if part in node.model_fields]
            assert fields, f"--{flag.name} sets {flag.field}"
            nodes = [node for field in fields for node in mappings(field.annotation)]


@each_verb
def test_flags_are_few_and_named_once(verb: Verb) -> None:
    names = [flag.name for flag in (*verb.flags, *SHARED_FLAGS)]
    assert len(names) == len(set(names))
    assert all(flag.help for flag in verb.flags)


@each_verb
def test_every_setting_is_described(verb: Verb) -> None:
    def undescribed(node: dict[str, Any], where: str) -> list[str]:
        return [
            f"{where}.{name}"
            for name, field in node.get("properties", {}).items()
            if "description" not in field and "$ref" not in field
        ]

    schema = verb.config_type.model_json_schema()
    nodes = {verb.name: schema, **schema.get("$defs", {})}
    assert not [name for where, node in nodes.items() for name in undescribed(node, where)]


@each_verb
def test_an_unknown_setting_is_refused(verb: Verb) -> None:
    with pytest.raises(ConfigError, match="sede: unknown key; did you mean 'seed'"):
        build_config(verb.config_type, {**minimal(verb), "sede": 1})


@each_verb
def test_every_verb_has_a_job(verb: Verb) -> None:
    """`run(config)` stands where the command line looks for it; read, not imported."""
    source = ROOT / f"src/darkroom/jobs/{verb.name}/job.py"
    functions = [
        node for node in ast.parse(source.read_text()).body if isinstance(node, ast.FunctionDef)
    ]
    (run,) = [node for node in functions if node.name == "run"]
    assert [argument.arg for argument in run.args.args] == ["config"]
