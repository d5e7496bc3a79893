"""Entered by a parent Application, on a cluster of its own: each wave after the one before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from testcluster.argocd import NAMESPACE
from tests.helpers.applications import is_settled
from tests.helpers.git_repository import BRANCH
from tests.helpers.gitops import GitOps, entry_applications, new_gitops

ENVIRONMENT = "staging"
WAVE = "argocd.argoproj.io/sync-wave"
ENTER_SECONDS = 600


@pytest.fixture
def empty(tmp_path_factory: pytest.TempPathFactory, programs: None) -> Iterator[GitOps]:
    with new_gitops(tmp_path_factory.mktemp("parent")) as found:
        yield found


def parent(url: str) -> dict[str, Any]:
    """An Application of Applications, as a team that runs Argo CD has it."""
    source = {"repoURL": url, "targetRevision": BRANCH}
    source["path"] = f"manifests/clusters/{ENVIRONMENT}/argocd"
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {"name": "root", "namespace": NAMESPACE},
        "spec": {
            "project": "default",
            "source": source,
            "destination": {"server": "https://kubernetes.default.svc", "namespace": NAMESPACE},
            "syncPolicy": {"automated": {"prune": True, "selfHeal": True}},
        },
    }


def wave(item: dict[str, Any]) -> int:
    return int(item["metadata"]["annotations"][WAVE])


def test_waves_come_one_after_the_other(empty: GitOps) -> None:
    applications = empty.applications
    names = entry_applications(empty.repository, ENVIRONMENT, empty.cluster)
    empty.enter(lambda: applications.kubectl.apply(parent(empty.repository.url)))
    seen: list[int] = []

    def all_settled() -> bool:
        there = {name: item for name, item in applications.all().items() if name in names}
        newest = max((wave(item) for item in there.values()), default=-1)
        early = [n for n, item in there.items() if wave(item) < newest and not is_settled(item)]
        if newest > max(seen, default=-1):
            seen.append(newest)
            assert early == [], f"wave {newest} began before these were Healthy"
        return len(there) == len(names) and all(map(is_settled, there.values()))

    applications.until("all Healthy", all_settled, ENTER_SECONDS)
    assert len(seen) > 1, "the waves were not seen to come one by one"
    root = applications.refresh("root")
    assert is_settled(root)
    # No wave waited for by trying again: each found what it needs.
    for name in names:
        operation = applications.get(name)["status"]["operationState"]
        assert operation.get("retryCount", 0) == 0, f"{name}: {operation['message']}"
