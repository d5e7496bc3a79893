"""From no replica that draws, and no worker for one, to the first picture: seconds, by phase.

What answers HTTP stays, on a small worker of its own; what draws goes when nobody asks, and its
worker after it. The image is on the node already. Printed, and kept with the service's figures.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from tests.helpers.release import Release
from tests.helpers.service_release import KEY, Service, installed_service, record

POOL = "draw"
SETTINGS = (
    "limits.deadline_seconds=300",
    "drawing.autoscaling.min_replicas=0",
    "drawing.autoscaling.initial_replicas=1",
    "drawing.autoscaling.max_replicas=1",
    "drawing.autoscaling.upscale_delay_s=0",
    "drawing.autoscaling.downscale_delay_s=5",
    "drawing.autoscaling.downscale_to_zero_delay_s=10",
    "http.replicas=1",
    # Without CPUs of Ray's it takes the replicas that answer HTTP, and none that draw.
    "pools.cpu.cpus=0",
    "pools.cpu.minReplicas=1",
    "pools.cpu.maxReplicas=1",
    f"pools.{POOL}.cpus=1",
    f"pools.{POOL}.maxReplicas=1",
    f"pools.{POOL}.idleTimeoutSeconds=15",
    f"pools.{POOL}.resources.requests.cpu=150m",
    f"pools.{POOL}.resources.requests.memory=2Gi",
    f"pools.{POOL}.resources.limits.memory=4Gi",
)
MOST_SECONDS = 300


@pytest.fixture(scope="module")
def service(release: Release, image: str) -> Iterator[Service]:
    with installed_service(release, image, *SETTINGS, num_workers=1) as found:
        yield found


def drawing_workers(service: Service) -> list[dict[str, Any]]:
    return service.kubectl.list("pods", f"ray.io/group={POOL}")


def ask(service: Service) -> dict[str, Any]:
    """A picture, and how long it took."""
    drawn = service.ask(KEY, seconds=MOST_SECONDS + 30, prompt="7", steps=5)
    assert drawn["ok"], f"{drawn['status']} after {drawn['seconds']} s: {drawn['said']}"
    return drawn


def seconds_of(text: str) -> float:
    """A time of Kubernetes', which has whole seconds."""
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.timeout(1800)
def test_the_first_picture_after_zero_comes_within_minutes(service: Service) -> None:
    ask(service)
    service.until("no worker that draws", lambda: not drawing_workers(service), seconds=600)
    first = ask(service)
    (pod,) = drawing_workers(service)
    (container,) = pod["status"]["containerStatuses"]
    asked = first["ended"] - first["seconds"]
    made = seconds_of(pod["metadata"]["creationTimestamp"])
    runs = seconds_of(container["state"]["running"]["startedAt"])
    draws = first["ended"] - first["drawing_seconds"]
    phases = {
        "until a worker is asked for": made - asked,
        "until its container runs": runs - made,
        "until Ray has joined and the model is loaded and warm": draws - runs,
        "drawing": first["drawing_seconds"],
    }
    again = ask(service)
    figures = {name: round(seconds, 1) for name, seconds in phases.items()}
    whole = {"all": first["seconds"], "the next picture": again["seconds"]}
    record("from zero", {**figures, **whole})
    assert min(phases.values()) > -2, "a clock of whole seconds"
    assert first["seconds"] < MOST_SECONDS
    assert again["seconds"] < first["seconds"] / 2
