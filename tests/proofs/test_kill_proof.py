"""Proof: the driver and all of its Ray SIGKILLed at random moments, and run again.

Every seed is a run of its own that is killed once, at a moment drawn over the whole length of an
undisturbed run. It ends with the very weights and losses of the undisturbed one.
`DARKROOM_PROOF_SEEDS` says how many (20). `build/proofs/kills.json` has a row for each.
"""

from __future__ import annotations

import itertools
import os
import random
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import TEST_BUCKET
from tests.helpers.proof import keep
from tests.helpers.tiny_artifacts import publish_digits
from tests.helpers.training import complete, pointer_of, started, train_config, weights_digest

from darkroom.storage import Artifact, EmbeddedServer

NUM_SEEDS = int(os.environ.get("DARKROOM_PROOF_SEEDS", "20"))
STEPS = 300


@pytest.fixture(scope="module")
def place(s3: EmbeddedServer) -> str:
    return f"s3://{TEST_BUCKET}/kills-{uuid.uuid4().hex}"


@pytest.fixture(scope="module")
def undisturbed(place: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Artifact, float]:
    """The model, and the seconds that it took."""
    publish_digits(f"{place}/data")
    config = train_config(f"{place}/data", f"{place}/undisturbed", max_steps=STEPS)
    start = time.monotonic()
    model = complete(config, tmp_path_factory.mktemp("undisturbed"))
    return model, time.monotonic() - start


@pytest.fixture(scope="module")
def rows() -> Iterator[list[dict[str, Any]]]:
    kept: list[dict[str, Any]] = []
    yield kept
    keep("kills", kept)


@pytest.mark.parametrize("seed", range(NUM_SEEDS))
def test_killed_at_a_random_moment(
    seed: int,
    place: str,
    undisturbed: tuple[Artifact, float],
    rows: list[dict[str, Any]],
    tmp_path: Path,
) -> None:
    model, whole_seconds = undisturbed
    moment = random.Random(seed).uniform(0.05, 0.95) * whole_seconds
    for number in itertools.count():
        output = f"{place}/{seed}-{number}"
        config = train_config(f"{place}/data", output, max_steps=STEPS)
        with started(config, tmp_path) as run:
            time.sleep(moment)  # the moment is what is being tried
            if run.process.poll() is None:
                run.kill_everything()
                break
        moment *= 0.8  # the machine is faster than it was: the run had ended
    state = pointer_of(output)
    start = time.monotonic()
    again = complete(config, tmp_path)
    seconds = time.monotonic() - start
    identical = weights_digest(again) == weights_digest(model)
    rows.append(
        {
            "seed": seed,
            "killed_after_seconds": round(moment, 1),
            "published_step": state.step if state else None,
            "rerun_seconds": round(seconds, 1),
            "identical": identical,
        }
    )
    assert identical
    losses = [m.read_table("metrics.parquet")["loss"].to_pylist() for m in (again, model)]
    assert losses[0] == losses[1]
