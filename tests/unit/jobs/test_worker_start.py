"""A worker's start by hand does what Ray's own does, or leaves it to that."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ray._private.runtime_env.context import RuntimeEnvContext

from darkroom.jobs.interpreter import quick_workers
from darkroom.jobs.worker_start import worker_of

PYTHON = "/environment/bin/python"
SETUP = "/site-packages/ray/_private/workers/setup_worker.py"
WORKER = ["/site-packages/ray/_private/workers/default_worker.py", "--node-id=1", ""]


def arguments(context: str, language: str = "PYTHON") -> list[str]:
    """As the raylet gives them."""
    return [
        SETUP, *WORKER[:2], f"--language={language}",
        f"--serialized-runtime-env-context={context}", *WORKER[2:],
    ]  # fmt: skip


def context(**values: Any) -> str:
    given: Any = {"py_executable": PYTHON, **values}
    text: str = RuntimeEnvContext(**given).serialize()
    return text


@pytest.mark.parametrize("given", ["{}", context()])
def test_an_empty_context_changes_nothing(given: str) -> None:
    assert worker_of(arguments(given), PYTHON) == (WORKER, {})


def test_variables_are_the_workers() -> None:
    given = arguments(context(env_vars={"RAY_TRAIN_A": "0", "B": "a b"}))
    assert worker_of(given, PYTHON) == (WORKER, {"RAY_TRAIN_A": "0", "B": "a b"})


@pytest.mark.parametrize(
    "given",
    [
        arguments(context(env_vars={"PATH": "/here:${PATH}"})),
        arguments(context(py_executable="uv run python")),
        arguments(context(command_prefix=["cd", "/elsewhere", "&&"])),
        arguments(context(override_worker_entrypoint="/other.py")),
        arguments('{"something_new": true}'),
        arguments("[]"),
        arguments(context(), language="CPP"),
        [SETUP, *WORKER],
        [SETUP],
        ["-u", "/site-packages/ray/dashboard/agent.py"],
        ["-c", "print()"],
        [],
    ],
)
def test_anything_else_is_rays_own_business(given: list[str]) -> None:
    assert worker_of(given, PYTHON) is None


def test_the_program_becomes_the_python_that_it_stands_for(tmp_path: Path) -> None:
    python = sys.executable
    with quick_workers(tmp_path):
        program = sys.executable
    assert sys.executable == python
    assert program == str(tmp_path / "python")
    shown = subprocess.run(
        [program, "-c", "import sys, ray; print(sys.executable, *sys.argv)", "a b"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert shown.stdout.split("\n")[0] == f"{python} -c a b"


@pytest.mark.parametrize("case", ["no folder", "a space in Python's name", "a long name"])
def test_where_no_such_program_can_be_ray_starts_workers_by_itself(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if case == "a space in Python's name":
        monkeypatch.setattr(sys, "executable", "/my folder/python")
    if case == "a long name":
        monkeypatch.setattr(sys, "executable", "/" + 130 * "x")
    before = sys.executable
    with quick_workers(None if case == "no folder" else tmp_path):
        assert sys.executable == before
    assert not os.listdir(tmp_path)  # noqa: PTH208 - whatever is there
