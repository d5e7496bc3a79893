"""Proof: `finetune` by two workers on buckets, from a cache or without, ends as if undisturbed.

From a cache and in one process: `tests/integration/test_finetune_cached.py`.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.helpers.bucketed_runs import stopped_and_resumed

from darkroom.jobs.session import ray_session


@pytest.mark.parametrize("from_cache", [False, True])
def test_stopped_and_resumed_by_two_workers(tmp_path: Path, from_cache: bool) -> None:
    uri = str(tmp_path / "runs")
    with ray_session():
        model = stopped_and_resumed(uri, tmp_path, from_cache=from_cache, num_workers=2)
    roles = {"data", "base", "checkpoint"} | ({"cache"} if from_cache else set())
    assert {parent.role for parent in model.manifest.parents} == roles
