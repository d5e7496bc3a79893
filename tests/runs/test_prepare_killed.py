"""One kill of `prepare`, driver and Ray at once; tests/proofs has many."""

from __future__ import annotations

import uuid
from pathlib import Path

from tests.conftest import TEST_BUCKET
from tests.helpers.killing import killed_and_rerun, published_here, write_proof
from tests.helpers.prepare_runs import many_pieces

SEED = 1  # falls after some pieces were committed, and before the others


def test_prepare_killed_and_run_again(ray_local: None, tmp_path: Path) -> None:
    root = f"s3://{TEST_BUCKET}/killed-{uuid.uuid4().hex}"
    reference = published_here("prepare", many_pieces(f"{root}/reference"))
    assert len(reference.entries("data/train/")) > 1, "pieces are merged to several files"
    kill = killed_and_rerun(
        "prepare", many_pieces(f"{root}/killed"), tmp_path, seed=SEED, reference=reference
    )
    assert kill.resumed_rows > 0
    write_proof("prepare-killed-once", [kill])
