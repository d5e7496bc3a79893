"""The development overlay's RayService, without Helm, by `darkroom submit`."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from testcluster.client import Kubectl
from testcluster.settings import LOGS
from tests.helpers.dev_overlay import OVERLAY, installed_dev
from tests.helpers.release import BUCKET, Release, submit
from tests.helpers.service_release import KEY, NAME, Service
from tests.helpers.tiny_artifacts import publish_model


@pytest.fixture(scope="module")
def service(cluster: Kubectl, image: str) -> Iterator[Service]:
    """The overlay's cluster with a model where the service looks for it, its key, and a client."""
    with installed_dev(cluster) as dev:
        yield _opened(dev, image)


def _opened(dev: Release, image: str) -> Service:
    with dev.s3_from_here():
        publish_model(f"s3://{BUCKET}/digits/model")
    found = Service(dev)
    found.open(image)
    return found


@pytest.mark.timeout(1500)
def test_submit_ends_when_it_draws_and_cancel_takes_it_away(service: Service) -> None:
    code, said, seconds = submit(service.kubectl, str(OVERLAY / "serve"), seconds=900)
    assert code == 0, said
    lines = said.splitlines()
    assert "darkroom DEPLOYING" in said
    assert lines[-1].startswith(f"== {NAME}: ready: ")
    state = service.kubectl.get("rayservice", NAME)
    (LOGS / "rayservice-ready.json").write_text(json.dumps(state["status"], indent=1))
    (LOGS / "submit-service.log").write_text(f"{said}\n{seconds:.1f} s\n")
    service.until("two workers that take requests", lambda: len(service.workers()) == 2)
    drawn = service.ask(KEY, prompt="7", steps=5)
    assert drawn["ok"], drawn
    code, said, _ = submit(service.kubectl, "--cancel", NAME)
    assert code == 0, said
    service.close()
    # Its head would drain for the five minutes that the longest request may take.
    ours = f"--selector=ray.io/node-type,darkroom/cluster=rayservice.{NAME}"
    service.kubectl("delete", "pods", ours, "--grace-period=0", "--force")
