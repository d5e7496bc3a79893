"""`finetune` on pictures in buckets, from a cache: stopped and resumed, in this process.

`make proof` does the same by two workers.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.helpers.bucketed_runs import stopped_and_resumed

from darkroom.jobs.artifacts.model import FinetunedInfo
from darkroom.storage import lineage, open_artifact


@pytest.mark.timeout(1800)
def test_stopped_and_resumed_is_the_undisturbed_one(bucket_uri: str, tmp_path: Path) -> None:
    model = stopped_and_resumed(bucket_uri, tmp_path, from_cache=True, num_workers=0)
    assert FinetunedInfo.of(model).image_sizes == ((32, 48), (40, 40), (48, 32))
    card = model.read_bytes("model/model_card.md").decode()
    assert "| trained at | 32 x 48, 40 x 40, 48 x 32 pixels |" in card
    parents = {parent.role: parent.digest for parent in model.manifest.parents}
    assert parents["cache"] == open_artifact(tmp_path / "cache").digest
    assert lineage(model.uri).ok
