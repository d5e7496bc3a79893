"""The digits pipeline as a user runs it: the development overlay, job by job, into a bucket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime

import pytest
from testcluster.client import Kubectl, rayjob_succeeds
from testcluster.settings import LOGS
from tests.helpers.dev_overlay import OVERLAY, installed_dev
from tests.helpers.release import Release

from darkroom.jobs.artifacts.evaluation import Evaluation
from darkroom.storage import open_artifact

# Each verb, and what it leaves in the bucket.
VERBS = {
    "prepare": "data",
    "train": "model",
    "sample": "samples",
    "evaluate": "evaluation",
    "report": "report",
}
# `make run` on the same settings: 98.2 %. Within three points of that.
LEAST_ACCURACY = 0.956
# For reading after the run: seconds from apply to the first training step, by phase; the accuracy.
FIGURES = LOGS / "digits-pipeline.json"


@pytest.fixture(scope="module")
def dev(cluster: Kubectl) -> Iterator[Release]:
    with installed_dev(cluster) as release:
        yield release


def test_every_verb_succeeds_and_publishes(dev: Release) -> None:
    figures: dict[str, float] = {}
    for verb in VERBS:
        dev.kubectl("apply", "--server-side", "--kustomize", str(OVERLAY / verb))
        rayjob_succeeds(dev.kubectl, f"darkroom-{verb}", seconds=900)
        if verb == "train":
            figures = _phases(dev.kubectl, "darkroom-train")
            _record(figures)
    with dev.s3_from_here() as bucket:
        published = {o: open_artifact(f"{bucket}/digits/{o}") for o in VERBS.values()}
        for output, artifact in published.items():
            assert artifact.manifest.files, f"{output} is empty"
            artifact.verify()
        accuracy = Evaluation.of(published["evaluation"]).metrics["class_accuracy"].value
    _record(figures | {"class accuracy": accuracy})
    assert accuracy >= LEAST_ACCURACY


def _phases(kubectl: Kubectl, job: str) -> dict[str, float]:
    """When the phases of a training job ended, in seconds since it was applied."""
    applied = _time(kubectl.get("rayjob", job)["metadata"]["creationTimestamp"])
    pod = kubectl.list("pods", f"batch.kubernetes.io/job-name={job}")[0]
    started = pod["status"]["containerStatuses"][0]["state"]["terminated"]["startedAt"]
    log = kubectl("logs", pod["metadata"]["name"], "--timestamps").splitlines()
    times = {"submitter starts": _time(started)}
    for phase, words in (
        ("submitter reaches the cluster", ""),
        ("job is submitted", "submitted successfully"),
        ("first training step", "started at step"),
    ):
        line = next(line for line in log if words in line)
        times[phase] = _time(line.split(" ", 1)[0])
    return {phase: round((time - applied).total_seconds(), 1) for phase, time in times.items()}


def _time(text: str) -> datetime:
    """Kubernetes writes nanoseconds, which Python 3.11 cuts off."""
    return datetime.fromisoformat(text)


def _record(figures: dict[str, float]) -> None:
    FIGURES.parent.mkdir(parents=True, exist_ok=True)
    FIGURES.write_text(json.dumps(figures, indent=1))
