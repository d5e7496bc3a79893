"""Proof: `sample` killed at random moments, driver and Ray at once, ends as if undisturbed.

Ten kills by default; BATCH_PROOF_KILLS sets another number. Pictures take fresh noise at every
step, so one that was redone from another seed, or in other company, shows.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from tests.conftest import TEST_BUCKET
from tests.helpers.killing import killed_and_rerun, undisturbed, write_proof
from tests.helpers.sample_runs import settings
from tests.helpers.tiny_artifacts import publish_model

from darkroom.storage import EmbeddedServer

NUM_KILLS = int(os.environ.get("BATCH_PROOF_KILLS", "10"))


def test_sample_killed_at_random_moments(s3: EmbeddedServer, tmp_path: Path) -> None:
    root = f"s3://{TEST_BUCKET}/proof-{uuid.uuid4().hex}"
    publish_model(f"{root}/model")
    reference = undisturbed("sample", settings(root, "reference"), tmp_path)
    kills = [
        killed_and_rerun(
            "sample", settings(root, f"killed-{seed}"), tmp_path, seed=seed, reference=reference
        )
        for seed in range(NUM_KILLS)
    ]
    assert len(kills) == NUM_KILLS
    write_proof("batch-sample", kills)
