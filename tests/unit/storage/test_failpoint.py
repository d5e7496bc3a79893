"""Failpoints: the list is complete, and without the variable nothing happens."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import darkroom
from darkroom.storage.failpoint import (
    ENVIRONMENT_VARIABLE,
    FAILPOINTS,
    LOCAL_FAILPOINTS,
    S3_FAILPOINTS,
    failpoint,
)


def test_every_failpoint_in_the_sources_is_listed() -> None:
    sources = Path(darkroom.__file__).parent.rglob("*.py")
    used = {
        name
        for path in sources
        for name in re.findall(r'failpoint\("([a-z0-9.-]+)"\)', path.read_text())
    }
    assert used == {*FAILPOINTS, *LOCAL_FAILPOINTS, *S3_FAILPOINTS}


def test_nothing_happens_unless_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "another.name")
    failpoint("publish.before-manifest")


def test_the_named_passing_kills_the_process() -> None:
    program = (
        "from darkroom.storage.failpoint import failpoint\n"
        "for number in range(5):\n"
        "    failpoint('x')\n"
        "    print(number, flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={ENVIRONMENT_VARIABLE: "x:3", "PYTHONPATH": str(Path(darkroom.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert done.stdout.split() == ["0", "1"]
