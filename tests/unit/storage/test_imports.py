"""Importing storage stays cheap: nothing heavy is loaded before it is needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import darkroom
import darkroom.storage

HEAVY = {"torch", "ray", "boto3", "botocore", "pyarrow", "pydantic", "numpy"}


def test_import_loads_nothing_heavy() -> None:
    program = "import sys, darkroom.storage; print(*sys.modules, sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(Path(darkroom.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not HEAVY & set(done.stdout.split())


def test_every_public_name_is_there() -> None:
    names = darkroom.storage.__all__
    assert len(set(names)) == len(names)
    assert all(getattr(darkroom.storage, name) is not None for name in names)
