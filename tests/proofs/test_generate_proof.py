"""Proof: `generate` killed at random moments, driver and Ray at once, ends as if undisturbed.

Ten kills by default; BATCH_PROOF_KILLS sets another number. Answers are sampled and pictures take
fresh noise at every step, so a row that was redone from another seed, or in other company, shows.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from tests.conftest import TEST_BUCKET
from tests.helpers.generate_runs import save_models, settings
from tests.helpers.killing import killed_and_rerun, undisturbed, write_proof

from darkroom.storage import EmbeddedServer

NUM_KILLS = int(os.environ.get("BATCH_PROOF_KILLS", "10"))


def test_generate_killed_at_random_moments(s3: EmbeddedServer, tmp_path: Path) -> None:
    root = f"s3://{TEST_BUCKET}/proof-{uuid.uuid4().hex}"
    models = save_models(tmp_path)
    reference = undisturbed("generate", settings(models, f"{root}/reference"), tmp_path)
    kills = [
        killed_and_rerun(
            "generate",
            settings(models, f"{root}/killed-{seed}"),
            tmp_path,
            seed=seed,
            reference=reference,
        )
        for seed in range(NUM_KILLS)
    ]
    assert len(kills) == NUM_KILLS
    write_proof("batch-generate", kills)
