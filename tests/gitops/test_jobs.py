"""A job under Argo CD, with pruning and self-heal on: a change starts another and ends none.

The job brings a cluster of its own, which the operator makes with the job's annotations on it: Argo
CD must not take it for its own either. States that need a Ray are written by the test.
"""

from __future__ import annotations

import copy
import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest
from testcluster.client import Kubectl
from tests.helpers.gitops import GitOps
from tests.helpers.queued import cluster_of

NAME, NAMESPACE = "digits", "darkroom-dev"
VALUES = "manifests/overlays/dev/values/digits.yaml"
FIRST = {
    "nameHash": True,
    "verb": "train",
    "recipe": "digits",
    "input": "s3://darkroom/digits/data",
    "output": "s3://darkroom/digits/model",
}
Object = dict[str, Any]


@pytest.fixture
def jobs(gitops: GitOps) -> Iterator[Kubectl]:
    """kubectl where an Application of one job has brought it, and it runs; all goes afterwards."""
    ours, applications = gitops.cluster.within(NAMESPACE), gitops.applications
    gitops.repository.edit(VALUES, lambda values: values.update(FIRST))
    revision = gitops.repository.commit("a job")
    item = copy.deepcopy(applications.get("darkroom"))
    source = item["spec"]["source"] | {"path": "charts/darkroom-job"}
    source["helm"] = {"releaseName": NAME, "valueFiles": [f"../../{VALUES}"]}
    spec = {key: item["spec"][key] for key in ("project", "destination", "syncPolicy")}
    assert spec["syncPolicy"]["automated"] == {"prune": True, "selfHeal": True}
    metadata = {"name": NAME, "namespace": item["metadata"]["namespace"]}
    applications.kubectl.apply(
        {
            "apiVersion": item["apiVersion"],
            "kind": item["kind"],
            "metadata": metadata,
            "spec": {**spec, "source": source},
        }
    )
    applications.reaches(NAME, revision)
    yield ours
    applications.kubectl("delete", "application", NAME, timeout=60)
    ours("delete", "rayjobs", "--all", timeout=120)
    gitops.repository.edit(VALUES, dict.clear)
    gitops.repository.commit("no job")


def names(ours: Kubectl) -> list[str]:
    return sorted(item["metadata"]["name"] for item in ours.list("rayjobs"))


def accounts(ours: Kubectl) -> list[str]:
    return [item["metadata"]["name"] for item in ours.list("serviceaccounts")]


def state(ours: Kubectl, name: str) -> str:
    status = ours.get("rayjob", name).get("status", {})
    return str(status.get("jobDeploymentStatus"))


def change(gitops: GitOps, **values: Any) -> str:
    gitops.repository.edit(VALUES, lambda found: found.update(values))
    return gitops.repository.commit("another job")


def write_state(ours: Kubectl, name: str, deployment: str, job: str, message: str = "") -> None:
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    status = {"jobDeploymentStatus": deployment, "jobStatus": job, "message": message}
    status["endTime"] = now
    ours.write_status("rayjob", name, status)


def test_a_change_starts_a_job_beside_the_one_that_runs(gitops: GitOps, jobs: Kubectl) -> None:
    applications = gitops.applications
    (first,) = names(jobs)
    applications.until("the job running", lambda: state(jobs, first) == "Running")
    applications.until("its health", lambda: applications.has_health(NAME, "Healthy"))
    made = cluster_of(jobs, first)
    assert made is not None

    applications.reaches(NAME, change(gitops, output="s3://darkroom/digits/other"))
    (second,) = {*names(jobs)} - {first}
    applications.until("the other running", lambda: state(jobs, second) == "Running")

    # Pruned would be what is no longer rendered; nor does self-heal come back for it.
    settled = applications.get(NAME)["status"]["operationState"]["finishedAt"]
    for _ in range(3):
        status = applications.refresh(NAME)["status"]
        assert status["sync"]["status"] == "Synced"
    assert status["operationState"]["finishedAt"] == settled
    assert state(jobs, first) == "Running"
    for name in (first, second):
        assert "deletionTimestamp" not in jobs.get("rayjob", name)["metadata"]
    kept = cluster_of(jobs, first)
    assert kept is not None
    assert kept["metadata"]["uid"] == made["metadata"]["uid"]


def test_the_same_values_start_nothing(gitops: GitOps, jobs: Kubectl) -> None:
    before = names(jobs)
    gitops.repository.edit("manifests/overlays/dev/values/note.yaml", lambda f: f.update(a=1))
    gitops.applications.reaches(NAME, gitops.repository.commit("something else"))
    assert names(jobs) == before


def test_health_follows_the_job(gitops: GitOps, jobs: Kubectl) -> None:
    applications = gitops.applications
    (first,) = names(jobs)
    applications.until("the job running", lambda: state(jobs, first) == "Running")
    applications.until("its health", lambda: applications.has_health(NAME, "Healthy"))
    write_state(jobs, first, "Failed", "FAILED", "no data")
    applications.until("a failed job", lambda: applications.has_health(NAME, "Degraded"))
    # A failed job is kept, and so is its word, until a person has read it and deletes it.
    applications.reaches(NAME, change(gitops, output="s3://darkroom/digits/again"))
    assert applications.has_health(NAME, "Degraded")
    jobs("delete", "rayjob", first, timeout=120)
    (second,) = names(jobs)
    applications.until("the other running", lambda: state(jobs, second) == "Running")
    applications.until("its health", lambda: applications.has_health(NAME, "Healthy"))
    write_state(jobs, second, "Complete", "SUCCEEDED")
    applications.refresh(NAME)
    assert applications.has_health(NAME, "Healthy")


def test_a_job_outlives_its_application(gitops: GitOps, jobs: Kubectl) -> None:
    """With the finalizer that takes along what an Application made: `helm.sh/resource-policy`."""
    applications = gitops.applications
    (first,) = names(jobs)
    item = applications.get(NAME)
    assert NAME in accounts(jobs)
    finalizers = ["resources-finalizer.argocd.argoproj.io"]
    applications.patch(NAME, {"metadata": {"finalizers": finalizers}})
    applications.kubectl("delete", "application", NAME, timeout=120)
    assert names(jobs) == [first]
    assert "deletionTimestamp" not in jobs.get("rayjob", first)["metadata"]
    # What the job does not need to be kept has gone with it.
    assert NAME not in accounts(jobs)
    again = {key: item[key] for key in ("apiVersion", "kind", "spec")}
    metadata = {key: item["metadata"][key] for key in ("name", "namespace")}
    applications.kubectl.apply({**again, "metadata": metadata})
