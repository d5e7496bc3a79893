"""One kill of `classify`, driver and Ray at once; tests/proofs has many."""

from __future__ import annotations

import uuid
from pathlib import Path

from tests.conftest import TEST_BUCKET
from tests.helpers.classify_runs import small_settings, upload_pictures
from tests.helpers.killing import killed_and_rerun, published_here

SEED = 3  # falls after some pieces were committed, and before the others


def test_classify_killed_and_run_again(ray_local: None, tmp_path: Path) -> None:
    root = f"s3://{TEST_BUCKET}/killed-{uuid.uuid4().hex}"
    pictures = upload_pictures(f"{root}/in")
    reference = published_here("classify", small_settings(pictures, f"{root}/reference"))
    kill = killed_and_rerun(
        "classify", small_settings(pictures, f"{root}/killed"), tmp_path, seed=SEED,
        reference=reference,
    )  # fmt: skip
    assert kill.resumed_rows > 0
