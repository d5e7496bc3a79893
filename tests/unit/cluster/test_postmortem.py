"""What is kept of a job, where, and what happens when some of it cannot be had."""

from __future__ import annotations

from typing import Any

import pytest

from darkroom.cluster.client import ClusterError
from darkroom.cluster.following import Record, Verdict
from darkroom.cluster.postmortem import keep, output_uri


def job(entrypoint: str, env: list[dict[str, str]] | None = None) -> dict[str, Any]:
    template = {"spec": {"containers": [{"name": "s", "env": env or []}]}}
    spec = {"entrypoint": entrypoint, "submitterPodTemplate": template}
    status = {"jobDeploymentStatus": "Failed", "reason": "AppFailed", "rayClusterName": "train-c"}
    return {"metadata": {"name": "train", "uid": "0123456789"}, "spec": spec, "status": status}


class Bucket:
    def __init__(self) -> None:
        self.objects: dict[str, str] = {}

    def put(self, key: str, data: bytes) -> None:
        self.objects[key] = data.decode()


class Remains:
    """A head that answers and a worker that is gone."""

    def events(self) -> list[dict[str, Any]]:
        ours = {"involvedObject": {"name": "train-c-head"}, "reason": "Killing"}
        return [ours, {"involvedObject": {"name": "other"}, "reason": "Scheduled"}]

    def log(self, pod: str, container: str, *, previous: bool = False) -> str:
        if pod == "train-c-worker":
            raise ClusterError("gone")
        return "" if previous else f"log of {container}"

    def run(self, *_call: object) -> str:
        return "what Ray wrote"


@pytest.mark.parametrize(
    ("entrypoint", "expected"),
    [
        ("darkroom train --output s3://b/run --resume", "s3://b/run"),
        ("darkroom train --output=s3://b/run", "s3://b/run"),
        ("darkroom train --output 's3://b/a b'", "s3://b/a b"),
        ("darkroom train --output s3://$(DARKROOM_BUCKET)/run", "s3://mine/run"),
        ("darkroom train --output s3://$(UNKNOWN)/run", "s3://$(UNKNOWN)/run"),
        ("darkroom train --output 's3://b/$$x'", "s3://b/$x"),
        ("darkroom train", None),
        ("darkroom train --output 'torn", None),
    ],
)
def test_output_is_read_from_the_entrypoint(entrypoint: str, expected: str | None) -> None:
    env = [{"name": "DARKROOM_BUCKET", "value": "mine"}]
    assert output_uri(job(entrypoint, env)) == expected


def test_everything_is_kept_and_what_is_missing_is_said() -> None:
    containers = {"spec": {"containers": [{"name": "ray-head"}]}}
    worker = {"spec": {"containers": [{"name": "ray-worker"}]}}
    record = Record(
        phases=["Running", "Failed"],
        log=["ValueError: no rows"],
        followed=job("darkroom train --output s3://b/run"),
        clusters=["train-c"],
        pods={"train-c-head": containers, "train-c-worker": worker},
    )
    bucket = Bucket()
    folder = keep(Remains(), bucket, record, Verdict(1, "failed: AppFailed: ValueError: no rows"))
    assert folder == "logs/train-01234567"
    assert set(bucket.objects) == {
        f"{folder}/{name}"
        for name in (
            "report.md",
            "driver.log",
            "job.yaml",
            "events.yaml",
            "pods/train-c-head/ray-head.log",
            "pods/train-c-head/ray.log",
        )
    }
    report = bucket.objects[f"{folder}/report.md"]
    assert "failed: AppFailed: ValueError: no rows" in report.splitlines()[0]
    assert "Running -> Failed" in report
    assert "pod train-c-worker, container ray-worker: gone" in report
    assert "Killing" in bucket.objects[f"{folder}/events.yaml"]
    assert "Scheduled" not in bucket.objects[f"{folder}/events.yaml"]


def test_a_service_keeps_itself_and_both_clusters_events() -> None:
    followed = {"kind": "RayService", "metadata": {"name": "draw", "uid": "u"}, "status": {}}
    record = Record(followed=followed, clusters=["draw-a", "train-c"])
    bucket = Bucket()
    folder = keep(Remains(), bucket, record, Verdict(1, "failed: DEPLOY_FAILED"))
    names = {"report.md", "service.yaml", "events.yaml"}
    assert set(bucket.objects) == {f"{folder}/{name}" for name in names}
    assert "draw-a, train-c" in bucket.objects[f"{folder}/report.md"]
    assert "Killing" in bucket.objects[f"{folder}/events.yaml"]
