"""Fixtures of the tests of `serve`."""

from __future__ import annotations

import pytest


@pytest.fixture
def quick_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes a service seconds takes fractions of them."""
    for name, seconds in {
        "worker.LOOK_SECONDS": 0.05,
        "worker.RENEW_SECONDS": 0.1,
        "worker.AGAIN_SECONDS": 0.1,
        "worker.NOT_YET_SECONDS": 0.02,
        "worker.EXPIRY_SECONDS": 0.1,
        "worker.LEASE_SECONDS": 1.0,
        "lease.LEASE_SECONDS": 1.0,
        "place._AGAIN_SECONDS": 0.1,
        "drawing.FIRST_PAUSE_SECONDS": 0.01,
        "drawing.LONGEST_PAUSE_SECONDS": 0.05,
    }.items():
        monkeypatch.setattr(f"darkroom.jobs.serve.jobs.{name}", seconds)
