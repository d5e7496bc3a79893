"""One kill of `sample`, driver and Ray at once; tests/proofs has many."""

from __future__ import annotations

import uuid
from pathlib import Path

from tests.conftest import TEST_BUCKET
from tests.helpers.killing import killed_and_rerun, published_here, write_proof
from tests.helpers.sample_runs import settings
from tests.helpers.tiny_artifacts import publish_model

SEED = 3  # falls after some pieces were committed, and before the others


def test_sample_killed_and_run_again(ray_local: None, tmp_path: Path) -> None:
    root = f"s3://{TEST_BUCKET}/killed-{uuid.uuid4().hex}"
    publish_model(f"{root}/model")
    reference = published_here("sample", settings(root, "reference"))
    assert len(reference.entries("images/")) == reference.manifest.rows
    assert reference.entries("strip/")
    kill = killed_and_rerun(
        "sample", settings(root, "killed"), tmp_path, seed=SEED, reference=reference
    )
    assert kill.resumed_rows > 0
    write_proof("sample-killed-once", [kill])
