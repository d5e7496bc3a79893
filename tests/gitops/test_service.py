"""The service's entry point under Argo CD, as far as a service gets where no Ray runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from testcluster.client import Kubectl
from tests.helpers.applications import Applications
from tests.helpers.gitops import GitOps

NAME, NAMESPACE = "darkroom-serve", "darkroom-dev"
VALUES = "manifests/overlays/dev/values/service-values.yaml"


@pytest.fixture
def service(gitops: GitOps) -> Iterator[Applications]:
    """The Applications where the service is entered by the documented commands.

    Its pods do not run: where a head is ready and its dashboard silent, KubeRay 1.6.1 ends each
    round with an error, before it looks at the time, and never gives the service up.
    """
    ours = gitops.cluster.within(NAMESPACE)
    ours("create", "secret", "generic", "api-keys", "--from-literal=team-a=0123456789")
    entry = gitops.repository.checkout / "manifests/clusters/dev/argocd/serve"
    applications = Applications(gitops.cluster, runs_pods=False)
    applications.kubectl("apply", f"--kustomize={entry}")
    yield applications
    applications.kubectl("delete", "application", NAME, timeout=60)
    ours("delete", "rayservice", "draw", timeout=120)


def reason(ours: Kubectl) -> str:
    """Why the operator calls the service ready, or not."""
    conditions = ours.get("rayservice", "draw").get("status", {}).get("conditions", [])
    return str(next((c["reason"] for c in conditions if c["type"] == "Ready"), ""))


def test_a_service_that_starts_and_one_that_is_given_up(
    gitops: GitOps, service: Applications
) -> None:
    """Each by the operator's own state: nobody answers for Serve, so it is never ready."""
    ours = gitops.cluster.within(NAMESPACE)

    def synced() -> bool:
        return bool(service.get(NAME).get("status", {}).get("sync", {}).get("status") == "Synced")

    service.until("the service's objects", synced)
    service.until("the operator", lambda: reason(ours) == "Initializing")
    service.refresh(NAME)
    assert service.has_health(NAME, "Progressing")

    def clusters() -> list[str]:
        found = ours.list("rayclusters", "ray.io/originated-from-cr-name=draw")
        living = [item["metadata"] for item in found if "deletionTimestamp" not in item["metadata"]]
        return [metadata["uid"] for metadata in living]

    made = service.until("its cluster", clusters)
    service.refresh(NAME)
    assert clusters() == made, (
        "its cluster is not Argo CD's, though the operator copies annotations"
    )

    def hurry(values: dict[str, Any]) -> None:
        values["annotations"] = {"ray.io/initializing-timeout": "8s"}

    gitops.repository.edit(VALUES, hurry)
    service.reaches(NAME, gitops.repository.commit("no patience"))
    service.until("the operator's end", lambda: reason(ours) == "InitializingTimeout")
    service.until("its health", lambda: service.has_health(NAME, "Degraded"))
