"""A job under Flux, with pruning on: a change starts another, and nothing ends one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from testcluster import flux
from testcluster.client import Kubectl
from tests.helpers.flux_entry import KIND, FluxEntry
from tests.helpers.flux_release import NAMESPACE, FluxRelease

JOB = "manifests/releases/jobs/train.yaml"
RELEASE = "digits-model"


@pytest.fixture
def jobs(entry: FluxEntry, entered: FluxRelease) -> Iterator[Kubectl]:
    """kubectl where the Kustomization of docs/kubernetes/gitops.md has brought its job."""
    before = entry.repository.revision()
    entry.cluster.within(flux.NAMESPACE).apply(
        {
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
            "kind": "Kustomization",
            "metadata": {"name": "jobs"},
            "spec": {
                "dependsOn": [{"name": "darkroom"}],
                "interval": "30m",
                "sourceRef": {"kind": "GitRepository", "name": "darkroom"},
                "path": "./manifests/releases/jobs",
                "targetNamespace": NAMESPACE,
                "prune": True,
            },
        }
    )
    ours = entered.kubectl
    entry.flux.until("the job", lambda: entry.is_ready("jobs") and names(ours))
    yield ours
    entry.cluster.within(flux.NAMESPACE)("delete", KIND, "jobs", "--ignore-not-found", timeout=120)
    ours("delete", "rayjobs", "--all", timeout=120)
    if entry.repository.revision() != before:
        entry.reaches(entry.repository.revert(), "darkroom")


def names(ours: Kubectl) -> list[str]:
    """RayJobs that are not on their way out."""
    found = [item["metadata"] for item in ours.list("rayjobs")]
    return sorted(each["name"] for each in found if "deletionTimestamp" not in each)


def change(entry: FluxEntry, **values: Any) -> str:
    entry.repository.edit(JOB, lambda found: found["spec"]["values"].update(values))
    return entry.repository.commit("another job")


def test_a_change_starts_a_job_beside_the_one_before(entry: FluxEntry, jobs: Kubectl) -> None:
    (first,) = names(jobs)
    entry.reaches(change(entry, output="s3://darkroom/digits/other"), "jobs")
    entry.flux.until("the other", lambda: len(names(jobs)) == 2)
    entry.flux.reconcile("helmrelease", RELEASE, NAMESPACE)
    assert first in names(jobs)
    assert len(names(jobs)) == 2


def test_the_same_values_start_nothing(entry: FluxEntry, jobs: Kubectl) -> None:
    before = names(jobs)
    entry.repository.edit("manifests/note.yaml", lambda found: found.update(a=1))
    entry.reaches(entry.repository.commit("something else"), "jobs")
    entry.flux.reconcile("helmrelease", RELEASE, NAMESPACE)
    assert names(jobs) == before


def test_a_job_outlives_its_release(entry: FluxEntry, jobs: Kubectl) -> None:
    """Pruned is the release, and Helm keeps the job: `helm.sh/resource-policy`."""
    before = names(jobs)
    entry.cluster.within(flux.NAMESPACE)("delete", KIND, "jobs", timeout=120)
    entry.flux.until(
        "the release gone", lambda: not entry.flux.get("helmrelease", RELEASE, NAMESPACE)
    )
    assert names(jobs) == before
