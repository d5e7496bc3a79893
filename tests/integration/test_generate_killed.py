"""One kill of `generate`, driver and Ray at once; tests/proofs has many."""

from __future__ import annotations

import uuid
from pathlib import Path

from tests.conftest import TEST_BUCKET
from tests.helpers.generate_runs import save_models, settings
from tests.helpers.killing import killed_and_rerun, published_here

SEED = 3  # falls after some pieces were committed, and before the others


def test_generate_killed_and_run_again(ray_local: None, tmp_path: Path) -> None:
    root = f"s3://{TEST_BUCKET}/killed-{uuid.uuid4().hex}"
    models = save_models(tmp_path)
    reference = published_here("generate", settings(models, f"{root}/reference"))
    kill = killed_and_rerun(
        "generate", settings(models, f"{root}/killed"), tmp_path, seed=SEED, reference=reference
    )
    assert kill.resumed_rows > 0
