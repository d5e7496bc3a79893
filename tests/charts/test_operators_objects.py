"""What the operator makes of a rendered RayCluster: its own reconciler, without a cluster."""

from __future__ import annotations

from typing import Any

import pytest
from tools import answer, render

Objects = list[dict[str, Any]]
LONGEST = "a" * 50
POOLS = {"cpu": {"replicas": 1, "minReplicas": 1, "maxReplicas": 2}, "b" * 40: {"replicas": 1}}


def made_of(objects: Objects) -> dict[str, Any]:
    """Pods, services, secrets and role bindings."""
    (cluster,) = (item for item in objects if item["kind"] == "RayCluster")
    found: dict[str, Any] = answer("kuberay-reconcile", before=cluster, after=cluster)
    return found


@pytest.mark.parametrize("name", ["darkroom", LONGEST], ids=["short", "longest"])
def test_every_pod_is_selected_and_every_name_exists(name: str) -> None:
    """Also under the labels that people set, and with the longest names that the chart takes."""
    labels = {"app.kubernetes.io/part-of": "platform", "app.kubernetes.io/component": "x"}
    values = {"fullnameOverride": name, "pools": POOLS, "commonLabels": labels}
    objects = render("darkroom-cluster", values | {"monitoring": {"enabled": True}})
    made = made_of(objects)
    pods = {pod["metadata"]["name"]: pod["metadata"]["labels"] for pod in made["pods"]}
    assert len(pods) == 3
    assert all(len(pod) <= 63 for pod in pods)
    heads = {pod for pod, labels in pods.items() if labels["ray.io/node-type"] == "head"}

    def selected(kind: str, suffix: str) -> set[str]:
        (item,) = (
            o
            for o in objects
            if o["kind"] == kind and o["metadata"]["name"] in (name, f"{name}{suffix}")
        )
        spec = item["spec"]
        wanted = spec.get("podSelector", spec.get("selector"))["matchLabels"]
        return {pod for pod, labels in pods.items() if wanted.items() <= labels.items()}

    assert selected("NetworkPolicy", "-ray") == set(pods)
    assert selected("PodMonitor", "") == set(pods)
    assert selected("NetworkPolicy", "-head") == heads
    assert not selected("NetworkPolicy", "-submitter")
    (service,) = made["services"]
    assert service["metadata"]["name"] == f"{name}-head-svc"
    assert {
        p for p, labels in pods.items() if service["spec"]["selector"].items() <= labels.items()
    } == heads
    accounts = {o["metadata"]["name"] for o in objects if o["kind"] == "ServiceAccount"}
    assert {pod["spec"]["serviceAccountName"] for pod in made["pods"]} == accounts
    bound = {subject["name"] for item in made["roleBindings"] for subject in item["subjects"]}
    assert bound == accounts
    # What `helm test` and the notes name as the token's Secret.
    assert name in {secret["metadata"]["name"] for secret in made["secrets"]}


def test_every_field_of_a_pod_survives_the_operator() -> None:
    """A sidecar stays behind Ray's container, and init containers before the operator's own."""
    extra = {
        "sidecars": [{"name": "log", "image": "log:1"}],
        "initContainers": [{"name": "own", "image": "own:1"}],
        "volumes": [{"name": "data", "emptyDir": {}}],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        "runtimeClassName": "nvidia",
    }
    made = made_of(
        render("darkroom-cluster", {"head": extra, "pools": {"cpu": POOLS["cpu"] | extra}})
    )
    for pod in made["pods"]:
        spec = pod["spec"]
        kind = pod["metadata"]["labels"]["ray.io/node-type"]
        names = [container["name"] for container in spec["containers"]]
        assert names == (
            ["ray-head", "log", "autoscaler"] if kind == "head" else ["ray-worker", "log"]
        )
        assert spec["runtimeClassName"] == "nvidia"
        inits = [container["name"] for container in spec["initContainers"]]
        assert inits == (["own"] if kind == "head" else ["own", "wait-gcs-ready"])
        for container in [*spec["containers"], *spec["initContainers"]]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
