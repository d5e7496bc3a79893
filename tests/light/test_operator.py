"""What the real operator makes of the charts' objects; no pod runs, so each waits for a node."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from testcluster.client import Kubectl, wait_for
from tests.helpers.release import NAME, Release

Object = dict[str, Any]
SECONDS = 120
"""For an answer of the operator; a busy machine takes its time."""


@pytest.fixture(scope="module")
def release(namespace: Kubectl) -> Iterator[Release]:
    installed = Release(namespace)
    installed.upgrade()
    wait_for(
        "a head",
        lambda: installed.pods_asked_for("head"),
        seconds=SECONDS,
        explain=namespace.explain,
    )
    yield installed
    installed.uninstall()


def container(pod: Object) -> Object:
    (found,) = (c for c in pod["spec"]["containers"] if c["name"].startswith("ray-"))
    return dict(found)


def test_the_head_has_the_token_and_its_service(release: Release) -> None:
    (head,) = release.pods_asked_for("head")
    names = {variable["name"] for variable in container(head)["env"]}
    assert {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN"} <= names
    ports = release.kubectl.get("service", f"{NAME}-head-svc")["spec"]["ports"]
    assert {6379, 8265, 10001} <= {port["port"] for port in ports}


def test_the_account_of_the_pods_exists(release: Release) -> None:
    """KubeRay clips long names by its own rule; the chart's must survive it."""
    # Of this cluster: another test's, which is being removed, may have lost its account first.
    pods = release.kubectl.list("pods", f"ray.io/cluster={NAME}")
    assert pods
    for pod in pods:
        account = pod["spec"]["serviceAccountName"]
        assert release.kubectl.get("serviceaccount", account)


def test_an_upgrade_reaches_a_pool_and_takes_no_worker_away(release: Release) -> None:
    def scale(replicas: int) -> None:
        path = "/spec/workerGroupSpecs/0/replicas"
        patch = json.dumps([{"op": "replace", "path": path, "value": replicas}])
        release.kubectl("patch", "raycluster", NAME, "--type=json", f"--patch={patch}")

    scale(2)  # as the autoscaler does
    wait_for(
        "two workers",
        lambda: len(release.pods_asked_for("worker", "cpu")) == 2,
        seconds=SECONDS,
        explain=release.kubectl.explain,
    )
    release.upgrade("pools.cpu.maxReplicas=5")
    cluster = release.kubectl.get("raycluster", NAME)
    (group,) = (g for g in cluster["spec"]["workerGroupSpecs"] if g["groupName"] == "cpu")
    assert (group["replicas"], group["maxReplicas"]) == (2, 5)

    def observed() -> bool:
        status = release.kubectl.get("raycluster", NAME)["status"]
        return bool(status.get("observedGeneration") == cluster["metadata"]["generation"])

    wait_for("the operator", observed, seconds=SECONDS, explain=release.kubectl.explain)
    assert len(release.pods_asked_for("worker", "cpu")) == 2


def test_a_gpu_pool_asks_for_its_gpu_and_offers_no_cpu(release: Release) -> None:
    release.upgrade(
        "pools.gpu.gpus=1", "pools.gpu.minReplicas=1", "pools.gpu.maxReplicas=1",
        "pools.gpu.resources.requests.cpu=1", "pools.gpu.resources.requests.memory=1Gi",
        "pools.gpu.resources.limits.memory=2Gi",
    )  # fmt: skip
    (pod,) = wait_for(
        "a worker of the GPU pool",
        lambda: release.pods_asked_for("worker", "gpu"),
        seconds=SECONDS,
        explain=release.kubectl.explain,
    )
    assert container(pod)["resources"]["limits"]["nvidia.com/gpu"] == "1"
    command = " ".join([*container(pod).get("command", []), *container(pod).get("args", [])])
    assert "--num-cpus=0" in command
    assert "--num-gpus=1" in command


def test_a_job_on_a_cluster_of_its_own_brings_one(release: Release) -> None:
    manifests = release.rayjob(
        "own", "verb=prepare", "recipe=digits_smoke", "output=s3://darkroom/own", own_cluster=True
    )
    release.kubectl.apply_text(manifests)

    def cluster() -> list[Object]:
        return release.kubectl.list("raycluster", "ray.io/originated-from-cr-name=own")

    wait_for("its cluster", cluster, seconds=SECONDS, explain=release.kubectl.explain)
    release.kubectl("delete", "rayjob", "own")
    wait_for(
        "its cluster's removal",
        lambda: not cluster(),
        seconds=SECONDS,
        explain=release.kubectl.explain,
    )


def test_a_suspended_job_starts_nothing(release: Release) -> None:
    text = release.rayjob(
        "queued", "verb=prepare", "recipe=digits_smoke", "output=s3://darkroom/queued",
        "suspend=true", own_cluster=True,
    )  # fmt: skip
    release.kubectl.apply_text(text)

    def state() -> str:
        status = release.kubectl.get("rayjob", "queued").get("status", {})
        return str(status.get("jobDeploymentStatus"))

    wait_for(
        "its suspension",
        lambda: state() == "Suspended",
        seconds=SECONDS,
        explain=release.kubectl.explain,
    )
    assert not release.kubectl.list("raycluster", "ray.io/originated-from-cr-name=queued")
    release.kubectl("delete", "rayjob", "queued")
