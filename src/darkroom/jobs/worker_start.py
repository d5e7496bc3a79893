"""Starts a worker of a local Ray; the program that Ray's raylet calls instead of Python.

Ray starts every worker by a Python that imports all of Ray, only to set the environment and to
become the Python of the worker, which imports all of Ray again: half of what a worker's start
costs. This does the same for the usual case with the standard library alone, and leaves every
other case to Ray's own `setup_worker.py`. It runs without site-packages and is not imported.
"""

from __future__ import annotations

import json
import os
import sys

_SETUP = "setup_worker.py"
_CONTEXT = "--serialized-runtime-env-context="
_LANGUAGE = "--language="


def worker_of(arguments: list[str], python: str) -> tuple[list[str], dict[str, str]] | None:
    """A worker's own arguments and variables; None for what Ray itself must set up, or start.

    arguments: what the raylet gives to Python.
    """
    if not arguments or os.path.basename(arguments[0]) != _SETUP:  # noqa: PTH119 - starts at once
        return None
    given = [each for each in arguments[1:] if each.startswith((_CONTEXT, _LANGUAGE))]
    rest = [each for each in arguments[1:] if each not in given]
    texts = [each.removeprefix(_CONTEXT) for each in given if each.startswith(_CONTEXT)]
    context = json.loads(texts[0]) if len(texts) == 1 else None
    if f"{_LANGUAGE}PYTHON" not in given or not isinstance(context, dict) or not rest:
        return None
    variables = context.pop("env_vars", None) or {}
    executable = context.pop("py_executable", None) or python
    context.pop("java_jars", None)
    if any(context.values()) or executable != python or any("$" in v for v in variables.values()):
        return None
    return rest, variables


def main() -> None:
    """Become the worker, or the Python that was asked for."""
    python, arguments = sys.executable, sys.argv[1:]
    worker = worker_of(arguments, python)
    if worker is not None:
        arguments = worker[0]
        os.environ.update(worker[1])
    os.execv(python, [python, *arguments])  # noqa: S606 - itself, with arguments that Ray made


if __name__ == "__main__":
    main()
