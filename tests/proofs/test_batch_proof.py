"""Proof: `classify` and `prepare` killed at random moments end as if undisturbed.

Driver and Ray are killed at once. Ten kills by default; BATCH_PROOF_KILLS sets another number. Each
rerun must publish every row once, byte for byte as an undisturbed run, and redo nothing that was
committed.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from tests.conftest import TEST_BUCKET
from tests.helpers.classify_runs import small_settings, upload_pictures
from tests.helpers.killing import killed_and_rerun, undisturbed, write_proof
from tests.helpers.prepare_runs import many_pieces

from darkroom.storage import EmbeddedServer

NUM_KILLS = int(os.environ.get("BATCH_PROOF_KILLS", "10"))


def test_classify_killed_at_random_moments(s3: EmbeddedServer, tmp_path: Path) -> None:
    root = f"s3://{TEST_BUCKET}/proof-{uuid.uuid4().hex}"
    pictures = upload_pictures(f"{root}/in")
    reference = undisturbed("classify", small_settings(pictures, f"{root}/reference"), tmp_path)
    kills = [
        killed_and_rerun(
            "classify",
            small_settings(pictures, f"{root}/killed-{seed}"),
            tmp_path,
            seed=seed,
            reference=reference,
        )
        for seed in range(NUM_KILLS)
    ]
    assert len(kills) == NUM_KILLS
    write_proof("batch-classify", kills)


def test_prepare_killed_at_random_moments(s3: EmbeddedServer, tmp_path: Path) -> None:
    root = f"s3://{TEST_BUCKET}/proof-{uuid.uuid4().hex}"
    reference = undisturbed("prepare", many_pieces(f"{root}/reference"), tmp_path)
    kills = [
        killed_and_rerun(
            "prepare", many_pieces(f"{root}/killed-{seed}"), tmp_path, seed=seed,
            reference=reference,
        )
        for seed in range(NUM_KILLS)
    ]  # fmt: skip
    write_proof("batch-prepare", kills)
