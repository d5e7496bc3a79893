"""Fine-tuning as RayJobs, S3 to S3: latents are cached, a LoRA is trained on them and drawn with.

A worker pod is deleted on the way; the run goes on at its newest checkpoint, no step twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from testcluster.client import rayjob_succeeds, wait_for
from testcluster.settings import LOGS
from tests.helpers.captioned_data import publish_captioned
from tests.helpers.release import BUCKET, Release, job_arguments, upload_folder
from tests.helpers.tiny_families import save_tiny
from tests.helpers.training_job import driver_log, published_step

from darkroom.jobs.artifacts.latents import LatentsInfo
from darkroom.jobs.artifacts.samples import Samples
from darkroom.storage import open_artifact

FOLDER = f"s3://{BUCKET}/finetuning"
STEPS, INTERVAL = 60, 10
# Big batches and one thread: a step takes long enough that a fault meets the run in its middle.
NUM_EACH, BATCH = 40, 128
FINETUNE = (
    f"max_steps={STEPS}", f"batch_size={BATCH}", "method=lora", "compute.num_threads=1",
    f"validation.every_steps={STEPS}", f"checkpoint.every_steps={INTERVAL}", "log_every_steps=1",
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def places(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Captioned photographs and a tiny Stable Diffusion in the release's bucket."""
    with release.s3_from_here():
        publish_captioned(f"{FOLDER}/data", num_each=NUM_EACH)
        base = save_tiny("sd", tmp_path_factory.mktemp("base"))
        yield upload_folder(base, f"{FOLDER}/base")


@pytest.fixture(scope="module")
def latents(release: Release, places: str) -> str:
    """What the cache's job leaves."""
    output = f"{FOLDER}/latents"
    run(release, "cache", f"input={FOLDER}/data", f"output={output}", args=["--base", places])
    rayjob_succeeds(release.kubectl, "cache", seconds=400)
    return output


def run(release: Release, verb: str, *settings: str, args: list[str]) -> None:
    recipe = "tiny_sd" if verb == "finetune" else ""
    given = [f"verb={verb}", f"recipe={recipe}", *settings, *job_arguments(args)]
    release.kubectl.apply_text(release.rayjob(verb, *given))


def test_the_cache_holds_every_picture_once(latents: str) -> None:
    artifact = open_artifact(latents)
    artifact.verify()
    rows = LatentsInfo.of(artifact).num_rows
    assert rows == open_artifact(f"{FOLDER}/data").manifest.rows


@pytest.mark.timeout(1200)
def test_a_lora_survives_a_lost_worker_and_draws(
    release: Release, places: str, latents: str
) -> None:
    output = f"{FOLDER}/lora"
    args = ["--base", places, "--cache", latents, "--num-workers=2"]
    args += [part for setting in FINETUNE for part in ("--set", setting)]
    run(release, "finetune", f"input={FOLDER}/data", f"output={output}", args=args)

    def saved() -> int:
        return published_step(output)

    explain = release.kubectl.explain
    step = wait_for("a checkpoint of the LoRA", saved, seconds=300, explain=explain)
    assert step < STEPS - INTERVAL, f"too late to disturb it: step {step}"
    workers = [pod["metadata"]["name"] for pod in release.pods("worker")]
    release.kubectl("delete", "pod", *workers, "--grace-period=0", "--force", timeout=60)
    saved_at = saved()
    rayjob_succeeds(release.kubectl, "finetune", seconds=500)

    log = driver_log(release, "finetune")
    resumed = [int(step) for step in re.findall(r"resuming from step (\d+)", log)]
    assert resumed, "nothing was disturbed"
    assert resumed[-1] >= saved_at
    model = open_artifact(output)
    model.verify()
    rows = model.read_table("metrics.parquet").to_pylist()
    assert [row["step"] for row in rows if row["loss"] is not None] == list(range(1, STEPS + 1))
    assert len({item.key.split("/")[1] for item in model.store.list("attempts/")}) == 1

    pictures = f"{FOLDER}/pictures"
    drawn = ["--lora", output, "--prompt", "a photo of a cat", "--num-images=4"]
    run(release, "sample", f"input={places}", f"output={pictures}", args=drawn)
    rayjob_succeeds(release.kubectl, "sample", seconds=300)
    samples = Samples.of(open_artifact(pictures))
    samples.artifact.verify()
    assert samples.info.num_rows == 4
    # For looking at after the run.
    LOGS.mkdir(parents=True, exist_ok=True)
    (LOGS / "finetuned.png").write_bytes(samples.artifact.read_bytes("grid.png"))
