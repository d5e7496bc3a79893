"""`finetune` on pictures in buckets, from a cache, over two workers: stopped and resumed."""

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
from darkroom.jobs.artifacts.model import FinetunedInfo
from darkroom.jobs.finetune.export import LORA_FILE
from darkroom.jobs.finetune.job import run
from darkroom.storage import lineage, open_artifact

STEPS = 75
"""25 epochs: so many that a wish to stop, which ranks hear once a second, comes before the end."""

pytestmark = pytest.mark.usefixtures("ray_local")


@pytest.mark.timeout(1800)
def test_stopped_and_resumed_is_the_undisturbed_one(bucket_uri: str, tmp_path: Path) -> None:
    """Batches of two: a full step and two of a single row, of which the second rank has none."""
    base = save_tiny("sd", tmp_path / "base")
    data = str(publish_pictures(f"{bucket_uri}/data").uri)
    latents = cached(base, data, tmp_path / "cache")
    changes: dict[str, Any] = {
        "batch_size": 2, "max_steps": STEPS, "log_every_steps": 1,
        "checkpoint": {"every_steps": 25, "asynchronous": False},
        "validation": {"every_steps": STEPS}, "on_existing": "resume",
        "cache": str(tmp_path / "cache"), "workers": {"num_workers": 2},
    }  # fmt: skip

    def config(name: str) -> Any:
        return finetune_config(base, input=data, output=f"{bucket_uri}/{name}", **changes)

    run(config("quiet"))
    with pytest.raises(InterruptedBySignal):
        run(config("stopped"), on_row=lambda row: "enough" if row["step"] >= 2 else None)
    state = pointer_of(f"{bucket_uri}/stopped")
    assert state is not None
    assert 2 <= state.step < STEPS
    run(config("stopped"))
    quiet, stopped = (open_artifact(f"{bucket_uri}/{name}") for name in ("quiet", "stopped"))
    file = f"model/{LORA_FILE}"
    assert stopped.entry(file).sha256 == quiet.entry(file).sha256

    info = FinetunedInfo.of(quiet)
    assert info.image_sizes == ((32, 48), (40, 40), (48, 32))
    card = quiet.read_bytes("model/model_card.md").decode()
    assert "| trained at | 32 x 48, 40 x 40, 48 x 32 pixels |" in card
    parents = {parent.role: parent.digest for parent in quiet.manifest.parents}
    assert parents["cache"] == latents.artifact.digest
    assert lineage(quiet.uri).ok

    log = quiet.read_table("metrics.parquet").to_pydict()
    assert log["epoch"] == [step // 3 for step in log["step"]]
    here = EncodedRun.of(base, data, **{**changes, "workers": {"num_workers": 1}})
    with torch.no_grad():  # adapters begin at nothing, however they were drawn
        first = here.module().training_losses(here.batch(0)).mean()
    assert log["loss"][0] == pytest.approx(float(first), rel=1e-5)
