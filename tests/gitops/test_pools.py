"""The autoscaler's numbers, changes of pools by Git, what people change by hand, and the way back.

The test scales in the autoscaler's place, for no Ray runs here, and Kubernetes before 1.36 has no
policy that keeps numbers when a pool changes: docs/kubernetes/upgrades.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from testcluster.client import Kubectl
from tests.helpers.dev_pool import VALUES, commit_maximum
from tests.helpers.gitops import GitOps
from tests.helpers.queued import scale

NAME, NAMESPACE = "darkroom", "darkroom-dev"
Object = dict[str, Any]


@pytest.fixture
def scaled(gitops: GitOps) -> Iterator[Kubectl]:
    """kubectl where two workers run that the autoscaler asked for; afterwards there are none."""
    ours = gitops.cluster.within(NAMESPACE)
    scale(ours, NAME, 2)
    gitops.applications.until("two workers", lambda: len(running(ours)) == 2)
    yield ours
    scale(ours, NAME, 0, *running(ours))
    gitops.applications.until("no workers", lambda: not running(ours))


def running(ours: Kubectl) -> list[str]:
    """Names of workers that run and are not on their way out."""
    pods = ours.list("pods", f"ray.io/cluster={NAME},ray.io/node-type=worker")
    return sorted(
        pod["metadata"]["name"]
        for pod in pods
        if pod["status"].get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]
    )


def pool(ours: Kubectl) -> Object:
    (found,) = ours.get("raycluster", NAME)["spec"]["workerGroupSpecs"]
    return dict(found)


def generation(ours: Kubectl) -> int:
    return int(ours.get("raycluster", NAME)["metadata"]["generation"])


def test_what_the_autoscaler_wrote_starts_no_sync(gitops: GitOps, scaled: Kubectl) -> None:
    before = gitops.applications.get(NAME)["status"]["operationState"]["finishedAt"]
    written = generation(scaled)
    for _ in range(2):
        state = gitops.applications.refresh(NAME)["status"]
        assert state["sync"]["status"] == "Synced"
    assert state["operationState"]["finishedAt"] == before
    assert (pool(scaled)["replicas"], generation(scaled)) == (2, written)


def test_a_sync_of_something_else_does_not_write_the_cluster(
    gitops: GitOps, scaled: Kubectl
) -> None:
    written = generation(scaled)

    def change(values: Object) -> None:
        values["devS3"]["resources"]["requests"]["memory"] = "300Mi"

    gitops.repository.edit(VALUES, change)
    gitops.applications.reaches(NAME, gitops.repository.commit("more memory for S3"))
    spec = scaled.get("statefulset", "darkroom-s3")["spec"]["template"]["spec"]
    assert spec["containers"][0]["resources"]["requests"]["memory"] == "300Mi"
    assert (pool(scaled)["replicas"], generation(scaled)) == (2, written)


def test_a_changed_pool_arrives_and_no_worker_goes(gitops: GitOps, scaled: Kubectl) -> None:
    workers = running(scaled)
    gitops.applications.reaches(NAME, commit_maximum(gitops.repository, 5))
    # The rendered number arrives too: the autoscaler puts its own back at its next decision.
    assert (pool(scaled)["maxReplicas"], pool(scaled)["replicas"]) == (5, 0)

    def observed() -> bool:
        status = scaled.get("raycluster", NAME)["status"]
        return bool(status.get("observedGeneration") == generation(scaled))

    gitops.applications.until("the operator", observed)
    assert running(scaled) == workers


def test_what_a_person_changed_is_put_back(gitops: GitOps) -> None:
    """Self-heal is on: the numbers of the autoscaler are left alone by rule, not by chance."""
    ours = gitops.cluster.within(NAMESPACE)
    wanted = pool(ours)["maxReplicas"]
    path = "/spec/workerGroupSpecs/0/maxReplicas"
    patch = json.dumps([{"op": "replace", "path": path, "value": wanted + 20}])
    ours("patch", "raycluster", NAME, "--type=json", f"--patch={patch}")
    gitops.applications.until("the pool of Git", lambda: pool(ours)["maxReplicas"] == wanted)


def test_back_by_git(gitops: GitOps) -> None:
    ours = gitops.cluster.within(NAMESPACE)
    before = pool(ours)["maxReplicas"]
    gitops.applications.reaches(NAME, commit_maximum(gitops.repository, before + 2))
    assert pool(ours)["maxReplicas"] == before + 2
    gitops.applications.reaches(NAME, gitops.repository.revert())
    assert pool(ours)["maxReplicas"] == before


def test_back_by_argo_cds_history(gitops: GitOps) -> None:
    """What `argocd app rollback` asks for; refused while syncs are automated, as it should be."""
    ours, applications = gitops.cluster.within(NAMESPACE), gitops.applications
    before = pool(ours)["maxReplicas"]
    last = applications.get(NAME)["status"]["history"][-1]
    newest = commit_maximum(gitops.repository, before + 3)
    applications.reaches(NAME, newest)
    policy = applications.get(NAME)["spec"]["syncPolicy"]
    applications.patch(NAME, {"spec": {"syncPolicy": {"automated": None}}})
    try:
        sync = {"revision": last["revision"], "source": last["source"], "prune": True}
        sync |= {"syncStrategy": {"apply": {}}, "syncOptions": policy["syncOptions"]}
        applications.patch(NAME, {"operation": {"sync": sync}})
        applications.until("the pool of before", lambda: pool(ours)["maxReplicas"] == before)
        assert applications.refresh(NAME)["status"]["sync"]["status"] == "OutOfSync"
        assert pool(ours)["maxReplicas"] == before
    finally:
        applications.patch(NAME, {"spec": {"syncPolicy": {"automated": policy["automated"]}}})
    applications.reaches(NAME, newest)
    assert pool(ours)["maxReplicas"] == before + 3
