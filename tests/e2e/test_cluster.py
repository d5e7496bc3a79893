"""The cluster does what the other end-to-end tests take for granted."""

import json

import pytest
from testcluster.client import Kubectl, pod_spec, run_pod

pytestmark = pytest.mark.smoke

REACH_API_BY_NAME = """
import socket
with socket.create_connection(("kubernetes.default.svc.cluster.local", 443), timeout=10) as peer:
    print("connected to", peer.getpeername()[0])
"""


def test_the_operator_is_available(cluster: Kubectl) -> None:
    deployments = json.loads(cluster("get", "deployments", "--all-namespaces", "--output=json"))
    available = {
        item["metadata"]["name"]: item["status"].get("availableReplicas", 0)
        for item in deployments["items"]
    }
    assert available["kuberay-operator"] == 1


def test_the_operators_kinds_are_served(cluster: Kubectl) -> None:
    kinds = cluster("api-resources", "--api-group=ray.io", "--output=name").split()
    assert {"rayclusters.ray.io", "rayjobs.ray.io", "rayservices.ray.io"} <= set(kinds)


def test_a_pod_resolves_names_and_reaches_services(namespace: Kubectl, image: str) -> None:
    spec = pod_spec(image, command=["python", "-c", REACH_API_BY_NAME])
    assert "connected to" in run_pod(namespace, "dns", spec)


def test_the_namespace_refuses_a_root_pod(namespace: Kubectl, image: str) -> None:
    spec = pod_spec(image) | {"securityContext": {"runAsUser": 0}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "root"}, "spec": spec}
    refused = namespace.run("apply", "--filename=-", stdin=json.dumps(pod))
    assert refused.returncode != 0
    assert 'violates PodSecurity "restricted' in refused.stderr
