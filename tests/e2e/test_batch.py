"""The batch verbs as RayJobs, S3 to S3, with every worker pod deleted on the way: exactly once."""

from __future__ import annotations

from pathlib import Path

import pytest
from testcluster.client import rayjob_succeeds, wait_for
from tests.helpers.e2e_settings import CLASSIFY, GENERATE
from tests.helpers.generate_runs import EXAMPLES
from tests.helpers.imagenet import lite0_weights
from tests.helpers.killing import records
from tests.helpers.language_models import save_tiny_language_model
from tests.helpers.pictures import crops, encoded
from tests.helpers.release import Release, job_arguments, upload_folder
from tests.helpers.tiny_text_to_image import save_tiny_stable_diffusion

from darkroom.storage import Artifact, open_artifact, open_store

NUM_CROPS = 200
NUM_ANIMALS = 120


@pytest.fixture(scope="module")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model and a text-to-image pipeline with random weights."""
    folder = tmp_path_factory.mktemp("models")
    save_tiny_language_model(folder / "llm")
    save_tiny_stable_diffusion(folder / "sd")
    return folder


def _arguments(settings: list[str], *others: str) -> list[str]:
    return job_arguments([*others, *(text for s in settings for text in ("--set", s))])


def _run_and_lose_the_workers(release: Release, name: str, *settings: str, output: str) -> Artifact:
    """The job from its manifests; its pods are deleted once two pieces are committed."""
    kubectl = release.kubectl
    kubectl.apply_text(release.rayjob(name, *settings, f"output={output}"))

    def begun_or_ended() -> bool:
        status = kubectl.get("rayjob", name).get("status", {})
        return len(records(output)) >= 2 or status.get("jobDeploymentStatus") == "Failed"

    wait_for(f"two pieces of {name}", begun_or_ended, seconds=300, explain=kubectl.explain)
    assert len(records(output)) >= 2, kubectl.explain()
    workers = [pod["metadata"]["name"] for pod in release.pods("worker")]
    assert workers, "nothing to lose: the job ran on the head"
    kubectl("delete", "pod", *workers, "--grace-period=0", "--force", "--wait=false", timeout=60)
    published = {name for name, _ in open_store(output).children()}
    assert "manifest.json" not in published, "too late to disturb it"
    rayjob_succeeds(kubectl, name, seconds=500)
    artifact = open_artifact(output)
    artifact.verify()
    return artifact


def _ids(artifact: Artifact) -> list[str]:
    names = [entry.name for entry in artifact.manifest.files if entry.name.startswith("data/")]
    return sorted(i for name in names for i in artifact.read_table(name)["id"].to_pylist())


@pytest.mark.timeout(1200)
def test_classify_survives_lost_workers(release: Release, s3: str, tmp_path: Path) -> None:
    pictures = [
        (encoded(crop), f"{name}/{index:03d}.jpg")
        for name in ("chelsea", "coffee")
        for index, crop in enumerate(crops(name, NUM_CROPS // 2))
    ]
    open_store(f"{s3}/photographs").upload_many(pictures)
    weights = lite0_weights(tmp_path)
    open_store(f"{s3}/models").upload(weights, weights.name)
    artifact = _run_and_lose_the_workers(
        release,
        "classify",
        "verb=classify",
        "recipe=imagenette_cpu",
        f"input={s3}/photographs",
        *_arguments(CLASSIFY, "--weights", f"{s3}/models/{weights.name}"),
        output=f"{s3}/labels",
    )
    assert _ids(artifact) == sorted(name for _, name in pictures)


@pytest.mark.timeout(1200)
def test_generate_survives_lost_workers(release: Release, s3: str, tiny_models: Path) -> None:
    upload_folder(EXAMPLES, f"{s3}/animals")
    artifact = _run_and_lose_the_workers(
        release,
        "generate",
        "verb=generate",
        "recipe=animals_cpu",
        f"input={s3}/animals/animals.csv",
        *_arguments(
            GENERATE,
            *("--join", f"{s3}/animals/outfits.csv"),
            *("--llm", upload_folder(tiny_models / "llm", f"{s3}/models/llm")),
            *("--model", upload_folder(tiny_models / "sd", f"{s3}/models/sd")),
        ),
        output=f"{s3}/animals-pictures",
    )
    ids = _ids(artifact)
    # Prompts that the tiny model's short context cannot hold are dead letters.
    rejected = artifact.manifest.metadata["num_rejected"]
    assert rejected < NUM_ANIMALS / 10
    assert len(ids) == len(set(ids)) == NUM_ANIMALS - rejected
