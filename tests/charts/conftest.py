"""What the tests of charts, manifests and rules share: the tools of hack/charts on the path.

A test that lacks a program skips, and says which make target builds it.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "hack" / "charts"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    from schemas import MissingToolError

    try:
        return (yield)
    except MissingToolError as missing:
        pytest.skip(str(missing))
