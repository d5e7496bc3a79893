"""Proof: `cache` killed at random moments, driver and Ray at once, ends as if undisturbed.

Five kills by default; BATCH_PROOF_KILLS sets another number. No committed row is encoded twice.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Any

from tests.conftest import TEST_BUCKET
from tests.helpers.cache_runs import PICTURES, Captioned, publish_pictures
from tests.helpers.killing import killed_and_rerun, undisturbed, write_proof
from tests.helpers.tiny_families import save_tiny

from darkroom.storage import EmbeddedServer

NUM_KILLS = int(os.environ.get("BATCH_PROOF_KILLS", "5"))
NUM_ROWS = 40


def many() -> dict[str, Captioned]:
    """So many that a run takes some seconds."""
    some = list(PICTURES.values())
    return {
        f"row-{n:03d}": Captioned(
            some[n % 5].name, (some[n % 5].size[0] * 4, some[n % 5].size[1] * 4), f"number {n}"
        )
        for n in range(NUM_ROWS)
    }


def test_cache_killed_at_random_moments(s3: EmbeddedServer, tmp_path: Path) -> None:
    root = f"s3://{TEST_BUCKET}/proof-{uuid.uuid4().hex}"
    data = publish_pictures(f"{root}/data", many())
    model = save_tiny("sd", tmp_path / "model")

    def settings(name: str) -> dict[str, Any]:
        return {
            "input": str(data.uri), "base": str(model), "output": f"{root}/{name}",
            "piece_rows": 4, "variants": 4, "augment": {"horizontal_flip": 0.5, "crop": {}},
        }  # fmt: skip

    reference = undisturbed("cache", settings("reference"), tmp_path)
    assert reference.manifest.metadata["num_encoded"] == 4 * NUM_ROWS
    kills = [
        killed_and_rerun(
            "cache", settings(f"killed-{seed}"), tmp_path, seed=seed, reference=reference
        )
        for seed in range(NUM_KILLS)
    ]
    assert len(kills) == NUM_KILLS
    write_proof("batch-cache", kills)
