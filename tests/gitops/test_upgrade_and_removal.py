"""A new version of the chart, what Git no longer has, and an Application that is deleted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from testcluster.client import Kubectl
from tests.helpers.applications import is_settled
from tests.helpers.gitops import GitOps

NAME, NAMESPACE = "darkroom", "darkroom-dev"
CHART = "charts/darkroom-cluster/Chart.yaml"
VALUES = "manifests/overlays/dev/values/cluster-values.yaml"
FINALIZER = "resources-finalizer.argocd.argoproj.io"


@pytest.fixture
def ours(gitops: GitOps) -> Iterator[Kubectl]:
    """kubectl in the cluster's namespace; the commit of a test is taken back."""
    before = gitops.repository.revision()
    yield gitops.cluster.within(NAMESPACE)
    if gitops.repository.revision() != before:
        gitops.applications.reaches(NAME, gitops.repository.revert())


def images(ours: Kubectl) -> set[str]:
    """Of the head and every pool."""
    spec = ours.get("raycluster", NAME)["spec"]
    templates = [g["template"] for g in (spec["headGroupSpec"], *spec["workerGroupSpecs"])]
    return {template["spec"]["containers"][0]["image"] for template in templates}


def of_the_release(ours: Kubectl, kind: str) -> set[str]:
    """Names; other Applications have objects in the namespace too."""
    found = ours.list(kind, f"app.kubernetes.io/instance={NAME}")
    return {item["metadata"]["name"] for item in found}


def test_a_changed_chart_arrives(gitops: GitOps, ours: Kubectl) -> None:
    """The image follows the chart's `appVersion` where values name no tag."""
    assert not any(image.endswith(":0.1.99") for image in images(ours))
    gitops.repository.edit(CHART, lambda chart: chart.update(appVersion="0.1.99"))
    gitops.applications.reaches(NAME, gitops.repository.commit("a new version"))
    assert all(image.endswith(":0.1.99") for image in images(ours))


def test_what_git_no_longer_has_is_pruned(gitops: GitOps, ours: Kubectl) -> None:
    assert f"{NAME}-ray" in of_the_release(ours, "networkpolicies")
    cluster = ours.get("raycluster", NAME)["metadata"]["uid"]
    gitops.repository.edit(VALUES, lambda values: values.update(networkPolicy={"enabled": False}))
    gitops.applications.reaches(NAME, gitops.repository.commit("no network policies"))
    assert of_the_release(ours, "networkpolicies") == set()
    assert ours.get("raycluster", NAME)["metadata"]["uid"] == cluster


def test_a_deleted_application_leaves_the_cluster_unless_it_has_the_finalizer(
    gitops: GitOps, ours: Kubectl
) -> None:
    applications = gitops.applications
    entry = gitops.repository.checkout / "manifests/clusters/dev/argocd"
    cluster = ours.get("raycluster", NAME)["metadata"]["uid"]

    def enter() -> None:
        applications.kubectl("apply", f"--kustomize={entry}")
        applications.until("the cluster", lambda: is_settled(applications.get(NAME)))

    applications.kubectl("delete", "application", NAME, timeout=60)
    assert ours.get("raycluster", NAME)["metadata"]["uid"] == cluster
    # Entered again it takes over what is there.
    enter()
    assert ours.get("raycluster", NAME)["metadata"]["uid"] == cluster

    applications.patch(NAME, {"metadata": {"finalizers": [FINALIZER]}})
    applications.kubectl("delete", "application", NAME, timeout=180)
    for kind in ("rayclusters", "statefulsets", "networkpolicies"):
        assert of_the_release(ours, kind) == set(), kind
    # What other Applications or a person brought stays.
    assert ours.get("localqueue", "gpu")
    assert ours.get("secret", "darkroom-s3-keys")
    enter()
    assert ours.get("raycluster", NAME)["metadata"]["uid"] != cluster


def test_the_namespace_stays_when_what_brought_it_goes(gitops: GitOps, ours: Kubectl) -> None:
    """Also with the finalizer: people's keys are in it, and jobs that are kept."""
    applications, name = gitops.applications, "darkroom-tenancy"
    applications.patch(name, {"metadata": {"finalizers": [FINALIZER]}})
    applications.kubectl("delete", "application", name, timeout=180)
    assert ours.run("get", "localqueue", "gpu").returncode != 0
    assert "deletionTimestamp" not in gitops.cluster.get("namespace", NAMESPACE)["metadata"]
    assert ours.get("secret", "darkroom-s3-keys")
    entry = gitops.repository.checkout / "manifests/clusters/dev/argocd"
    applications.kubectl("apply", f"--kustomize={entry}")
    applications.until("the queue", lambda: is_settled(applications.get(name)))
