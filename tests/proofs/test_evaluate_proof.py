"""Proof: `evaluate` killed, driver and Ray at once: the figures are those of an undisturbed run.

The kill falls as soon as a piece is committed, when the classifier is trained.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

from tests.conftest import TEST_BUCKET
from tests.helpers.killing import killed_and_rerun, undisturbed, write_proof
from tests.helpers.tiny_artifacts import publish_digits, publish_samples, split_digits

from darkroom.storage import EmbeddedServer

SEED = 2


def test_evaluate_killed_and_run_again(s3: EmbeddedServer, tmp_path: Path) -> None:
    root = f"s3://{TEST_BUCKET}/killed-{uuid.uuid4().hex}"
    publish_digits(f"{root}/data")
    publish_samples(f"{root}/samples", *split_digits("validation"))

    def settings(output: str) -> dict[str, Any]:
        return {
            "input": f"{root}/samples", "reference": f"{root}/data", "output": f"{root}/{output}",
            "num_bootstrap": 20, "num_floor_draws": 2, "piece_rows": 100,
        }  # fmt: skip

    reference = undisturbed("evaluate", settings("reference"), tmp_path)
    kill = killed_and_rerun(
        "evaluate", settings("killed"), tmp_path, seed=SEED, reference=reference
    )
    assert kill.resumed_rows > 0
    write_proof("batch-evaluate", [kill])
