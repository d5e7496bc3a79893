"""Commits, what people change by hand, and the way back, under the development entry point.

The test scales in the autoscaler's place, for no Ray runs here.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from testcluster import flux
from tests.helpers.dev_pool import VALUES, commit_maximum
from tests.helpers.flux_entry import KIND, FluxEntry
from tests.helpers.flux_release import NAME, NAMESPACE, FluxRelease


@pytest.fixture
def scaled(entered: FluxRelease) -> Iterator[FluxRelease]:
    """The release where two workers run that the autoscaler asked for; afterwards none."""
    with entered.scaled():
        yield entered


def arrives(entry: FluxEntry, release: FluxRelease, revision: str, maximum: int) -> None:
    """Waits until a commit is applied, and the pool as it has it."""
    entry.reaches(revision, "darkroom")
    entry.flux.until(
        "the pool", lambda: release.pool()["maxReplicas"] == maximum and release.is_ready()
    )


def test_a_changed_pool_arrives_and_keeps_the_autoscalers_number(
    entry: FluxEntry, scaled: FluxRelease
) -> None:
    made, running = scaled.keys(), scaled.workers()
    maximum = scaled.pool()["maxReplicas"] + 1
    arrives(entry, scaled, commit_maximum(entry.repository, maximum), maximum)
    assert scaled.pool()["replicas"] == 2
    assert scaled.workers() == running
    assert scaled.keys() == made


def test_back_by_git(entry: FluxEntry, entered: FluxRelease) -> None:
    before = entered.pool()["maxReplicas"]
    arrives(entry, entered, commit_maximum(entry.repository, before + 2), before + 2)
    arrives(entry, entered, entry.repository.revert(), before)


def test_a_commit_that_the_chart_refuses_changes_nothing_and_says_so(
    entry: FluxEntry, entered: FluxRelease
) -> None:
    cluster = entered.kubectl.get("raycluster", NAME)["metadata"]
    entry.repository.edit(VALUES, lambda values: values["pools"]["cpu"].update(maxReplica=1))
    entry.repository.commit("a slip")
    entry.flux.reconcile("gitrepository", "darkroom", flux.NAMESPACE)
    entry.flux.until(
        "the refusal", lambda: "maxReplica" in entered.condition("Ready").get("message", "")
    )
    now = entered.kubectl.get("raycluster", NAME)["metadata"]
    assert (now["uid"], now["generation"]) == (cluster["uid"], cluster["generation"])
    entry.reaches(entry.repository.revert(), "darkroom")
    entry.flux.until("the release", entered.is_ready)
    assert entered.kubectl.get("raycluster", NAME)["metadata"]["uid"] == cluster["uid"]


def test_a_manifest_that_does_not_build_stops_nothing_that_runs(
    entry: FluxEntry, entered: FluxRelease
) -> None:
    cluster = entered.kubectl.get("raycluster", NAME)["metadata"]["uid"]
    place = "manifests/overlays/dev/release/kustomization.yaml"
    entry.repository.edit(place, lambda found: found["resources"].append("missing.yaml"))
    entry.repository.commit("a file forgotten")
    entry.flux.reconcile("gitrepository", "darkroom", flux.NAMESPACE)

    def refused() -> bool:
        said = entry.flux.condition(KIND, "darkroom", flux.NAMESPACE, "Ready")
        return said.get("reason") == "BuildFailed" and "missing.yaml" in said["message"]

    entry.flux.until("the refusal", refused)
    assert entered.is_ready()
    entry.reaches(entry.repository.revert(), "darkroom")
    assert entered.kubectl.get("raycluster", NAME)["metadata"]["uid"] == cluster


def test_what_a_person_changed_of_the_namespace_is_put_back(entry: FluxEntry) -> None:
    """The label is pod security's: kustomize-controller corrects what it applied itself."""
    label = "pod-security.kubernetes.io/enforce"
    entry.cluster("label", "namespace", NAMESPACE, f"{label}=privileged", "--overwrite")
    entry.flux.reconcile(KIND, "darkroom", flux.NAMESPACE)

    def put_back() -> bool:
        labels = entry.cluster.get("namespace", NAMESPACE)["metadata"]["labels"]
        return bool(labels[label] == "restricted")

    entry.flux.until("the label", put_back)
