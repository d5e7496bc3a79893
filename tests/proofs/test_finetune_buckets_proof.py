"""Proof: `finetune` on buckets that encodes as it goes ends as if undisturbed.

From a cache: `tests/integration/test_finetune_cached.py`.
"""

from __future__ import annotations

from pathlib import Path

from tests.helpers.bucketed_runs import stopped_and_resumed

from darkroom.jobs.session import ray_session


def test_stopped_and_resumed_without_a_cache(tmp_path: Path) -> None:
    with ray_session():
        model = stopped_and_resumed(str(tmp_path / "runs"), tmp_path, from_cache=False)
    assert {parent.role for parent in model.manifest.parents} == {"data", "base", "checkpoint"}
