"""`finetune` on pictures in buckets: once undisturbed, once stopped and resumed.

Batches of two: a full step and two of a single row, of which a second rank has none.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.helpers.cache_runs import publish_pictures
from tests.helpers.encoded_runs import EncodedRun, cached
from tests.helpers.finetuning import finetune_config
from tests.helpers.tiny_families import save_tiny
from tests.helpers.training import pointer_of

from darkroom.errors import InterruptedBySignal
from darkroom.jobs.finetune.export import LORA_FILE
from darkroom.jobs.finetune.job import run
from darkroom.storage import Artifact, open_artifact

STEPS_PER_EPOCH = 3
STEPS = 25 * STEPS_PER_EPOCH
"""So many that a wish to stop, which ranks hear once a second, comes before the end."""


def stopped_and_resumed(uri: str, folder: Path, *, from_cache: bool, num_workers: int) -> Artifact:
    """Both have equal weights; returns the undisturbed one, whose first loss is as it should be."""
    base = save_tiny("sd", folder / "base")
    data = str(publish_pictures(f"{uri}/data").uri)
    cache = str(cached(base, data, folder / "cache").artifact.uri) if from_cache else None
    changes: dict[str, Any] = {
        "batch_size": 2, "max_steps": STEPS, "log_every_steps": 1,
        "checkpoint": {"every_steps": 25, "asynchronous": False},
        "validation": {"every_steps": STEPS}, "on_existing": "resume", "cache": cache,
        "workers": {"num_workers": num_workers},
    }  # fmt: skip

    def config(name: str) -> Any:
        return finetune_config(base, input=data, output=f"{uri}/{name}", **changes)

    run(config("quiet"))
    with pytest.raises(InterruptedBySignal):
        run(config("stopped"), on_row=lambda row: "enough" if row["step"] >= 2 else None)
    state = pointer_of(f"{uri}/stopped")
    assert state is not None
    assert 2 <= state.step < STEPS
    run(config("stopped"))
    quiet, stopped = (open_artifact(f"{uri}/{name}") for name in ("quiet", "stopped"))
    file = f"model/{LORA_FILE}"
    assert stopped.entry(file).sha256 == quiet.entry(file).sha256

    log = quiet.read_table("metrics.parquet").to_pydict()
    assert log["epoch"] == [step // STEPS_PER_EPOCH for step in log["step"]]
    here = EncodedRun.of(base, data, **{**changes, "workers": {"num_workers": 1}})
    with torch.no_grad():  # adapters begin at nothing, however they were drawn
        first = here.module().training_losses(here.batch(0)).mean()
    assert log["loss"][1] == pytest.approx(float(first), rel=1e-5)
    return quiet
