"""What the tests of charts, manifests and rules share: the tools of hack/charts on the path.

A test that lacks a program skips, and says which make target builds it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

HACK = Path(__file__).resolve().parents[2] / "hack"
sys.path[:0] = [str(HACK), str(HACK / "charts")]
# The tests of kustomizations run `kubectl kustomize`.
os.environ["PATH"] = f"{HACK.parent}/.cache/cluster/bin:{os.environ['PATH']}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    from schemas import MissingToolError

    try:
        return (yield)
    except MissingToolError as missing:
        pytest.skip(str(missing))
