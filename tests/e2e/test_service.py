"""The darkroom-service chart on a cluster: who may draw, and that a change fails nobody.

Pods and settings are changed while requests come (`tests/helpers/service_release.py`).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.helpers.release import Release
from tests.helpers.service_release import (
    FOLDER,
    KEY,
    Service,
    assert_nobody_failed,
    installed_service,
)


@pytest.fixture(scope="module")
def service(release: Release, image: str) -> Iterator[Service]:
    with installed_service(release, image) as found:
        yield found


@pytest.mark.timeout(1200)
def test_a_key_opens_it(service: Service) -> None:
    drawn = service.ask(KEY, prompt="7", steps=5)
    assert drawn["ok"], drawn
    assert service.ask("sk-" + "wrong" * 8, prompt="7")["status"] == 401


@pytest.mark.timeout(1200)
def test_a_deleted_worker_fails_nobody(service: Service) -> None:
    victim = service.workers()[0]
    with service.load() as rows:
        service.kubectl("delete", "pod", victim, "--wait=false")
        service.until("its end", lambda: victim not in service.pods())
        # Serve may put all replicas on the worker that is left; the new one is then not ready.
        service.until("as many replicas as before", service.is_healthy)
    assert_nobody_failed("a worker deleted", rows)


@pytest.mark.timeout(1200)
def test_new_weights_in_place_fail_nobody(service: Service) -> None:
    before, cluster = service.ask(KEY, prompt="7", steps=5)["digest"], service.cluster()
    with service.load() as rows:
        service.upgrade(f"models={{{FOLDER}/second}}")
        service.until(
            "the other weights",
            lambda: service.ask(KEY, prompt="7", steps=5)["digest"] not in (before, None),
        )
    assert_nobody_failed("new weights", rows)
    assert service.cluster() == cluster, "in place"
    assert len({row["digest"] for row in rows}) == 2


@pytest.mark.timeout(1800)
def test_a_new_cluster_fails_nobody(service: Service) -> None:
    """What an upgrade of the image does; another variable stands for it."""
    cluster = service.cluster()
    with service.load() as rows:
        service.upgrade("env.REVISION=second")
        service.until(
            "the other cluster", lambda: service.cluster() not in ("", cluster), seconds=900
        )
    assert_nobody_failed("a new cluster", rows)
