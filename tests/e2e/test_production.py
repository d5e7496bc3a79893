"""Production as docs/kubernetes/install.md has it, in order, from nothing to nothing.

Only what no test cluster has is replaced: the sizes of the nodes, the bucket's S3 server and its
identity, and the Prometheus operator, whose kinds stand here as open schemas.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from testcluster import images, transfer
from testcluster.client import Kubectl, rayjob_succeeds, wait_for
from testcluster.machine import node_command
from testcluster.settings import PROJECT, path_with_binaries
from tests.helpers.release import NAME, Release

from darkroom.storage import open_artifact

NAMESPACE = "darkroom"  # the overlay's own
OVERLAY = Path("manifests/overlays/production")
BUCKET = "darkroom-production"
MONITORING = {"podmonitors": "PodMonitor", "prometheusrules": "PrometheusRule"}
KEYS = "darkroom-s3-keys"
S3 = f"{NAME}-s3"
"""The development release's server, which stands in for production's."""


def s3_server(namespace: str) -> dict[str, object]:
    """The server's pod in the development release's namespace, as a peer of a policy."""
    return {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "podSelector": {"matchLabels": {"darkroom/component": "s3"}},
    }


def opening(namespace: str) -> dict[str, object]:
    """A policy beside the development release's, which lets nobody in from elsewhere."""
    peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "from-production"},
        "spec": {
            "podSelector": {"matchLabels": {"darkroom/component": "s3"}},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [peer], "ports": [{"port": 8333}]}],
        },
    }


def small(endpoint: str, namespace: str) -> dict[str, object]:
    """Values for a cluster of one small node with an S3 server of its own."""

    def resources(cpu: str, memory: str) -> dict[str, object]:
        return {"requests": {"cpu": cpu, "memory": "256Mi"}, "limits": {"memory": memory}}

    return {
        "s3": {
            "endpoint": endpoint,
            "region": "us-east-1",
            "identity": {"mode": "secret", "secretName": KEYS},
        },
        "head": {"resources": resources("150m", "3Gi")},
        "autoscaler": {"resources": resources("50m", "512Mi")},
        "networkPolicy": {"s3To": [s3_server(namespace)], "s3Ports": [8333]},
        "pools": {
            "cpu": {"cpus": 2, "resources": resources("150m", "4Gi")},
            "gpu": {"resources": resources("150m", "4Gi")},
        },
        "helmTest": {"resources": resources("50m", "1Gi")},
    }


def open_schema(plural: str, kind: str) -> dict[str, object]:
    """A kind of the Prometheus operator's that takes any fields."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": plural, "singular": kind.lower(), "kind": kind}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.monitoring.coreos.com"},
        "spec": {
            "group": "monitoring.coreos.com",
            "scope": "Namespaced",
            "names": names,
            "versions": [version],
        },
    }


@pytest.fixture(scope="module")
def pinned_image(own_cluster: Kubectl) -> str:
    """The image by its digest, under which a registry's node would know it."""
    tag = images.tag("darkroom")
    pinned = f"{tag.rpartition(':')[0]}@{transfer.manifest_digest('darkroom')}"
    command = node_command("ctr", "--namespace=k8s.io", "images", "tag", "--force", tag, pinned)
    subprocess.run(command, env=path_with_binaries(), check=True, capture_output=True)
    return pinned


@pytest.fixture(scope="module")
def checkout(pinned_image: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is installed from, after `make pin`."""
    root = tmp_path_factory.mktemp("checkout")
    for name in ("charts", "manifests"):
        shutil.copytree(PROJECT / name, root / name, symlinks=True)
    pin = [sys.executable, str(PROJECT / "hack/charts/pin.py"), pinned_image]
    component = root / OVERLAY / "pinned-image" / "kustomization.yaml"
    subprocess.run([*pin, str(component)], check=True, capture_output=True)
    return root


@pytest.fixture(scope="module")
def production(own_cluster: Kubectl, release: Release, checkout: Path) -> Iterator[Release]:
    """The release of production, installed; what is in its namespace goes with it."""
    cluster = own_cluster
    crds = [open_schema(plural, kind) for plural, kind in MONITORING.items()]
    cluster.apply(*crds)
    cluster("apply", "--kustomize", str(checkout / "manifests/infrastructure/priorities"))
    cluster("apply", "--kustomize", str(checkout / OVERLAY / "namespace"))
    namespace = cluster.within(NAMESPACE)
    keys = release.kubectl.get("secret", S3)["data"]
    namespace.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": KEYS}, "data": keys}
    )
    endpoint = f"http://{S3}.{release.kubectl.namespace}.svc:8333"
    (checkout / "small.yaml").write_text(json.dumps(small(endpoint, release.kubectl.namespace)))
    release.kubectl.apply(opening(NAMESPACE))
    values = [f"--values={checkout / OVERLAY}/values/{n}.yaml" for n in ("cluster-values", "image")]
    chart = str(checkout / "charts/darkroom-cluster")
    done = namespace.helm("install", NAME, chart, *values, f"--values={checkout}/small.yaml")
    assert done.returncode == 0, done.stderr
    installed = Release(namespace)
    yield installed
    namespace("delete", "rayjobs", "--all", timeout=180)
    installed.uninstall()
    cluster("delete", "namespace", NAMESPACE, timeout=300)
    release.kubectl("delete", "networkpolicy", "from-production")
    cluster("delete", "--kustomize", str(checkout / "manifests/infrastructure/priorities"))
    names = [f"{plural}.monitoring.coreos.com" for plural in MONITORING]
    cluster("delete", "customresourcedefinition", *names)


def test_it_is_installed_runs_a_job_is_upgraded_and_goes(
    production: Release, release: Release, checkout: Path
) -> None:
    kubectl = production.kubectl

    def ready() -> bool:
        return bool(kubectl.get("raycluster", NAME).get("status", {}).get("state") == "ready")

    wait_for("a ready RayCluster", ready, seconds=300, explain=kubectl.explain)
    (head,) = production.pods("head")
    assert head["spec"]["priorityClassName"] == "darkroom-head"
    with release.s3_from_here():
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        tested = kubectl.helm("test", NAME, "--logs", "--timeout=400s")
        assert tested.returncode == 0, f"{tested.stdout}{tested.stderr}{kubectl.explain()}"
        kubectl("apply", "--server-side", "--kustomize", str(checkout / OVERLAY / "prepare"))
        rayjob_succeeds(kubectl, "darkroom-prepare", seconds=400)
        open_artifact(f"s3://{BUCKET}/digits/data", kind="dataset").verify()

    values = [f"--values={checkout / OVERLAY}/values/{n}.yaml" for n in ("cluster-values", "image")]
    chart = str(checkout / "charts/darkroom-cluster")
    changed = ["--values", f"{checkout}/small.yaml", "--set=pools.cpu.maxReplicas=7"]
    # As docs/kubernetes/upgrades.md says: the autoscaler may have set the replicas meanwhile.
    done = kubectl.helm("upgrade", NAME, chart, *values, *changed, "--force-conflicts")
    assert done.returncode == 0, done.stderr
    groups = kubectl.get("raycluster", NAME)["spec"]["workerGroupSpecs"]
    (cpu,) = (group for group in groups if group["groupName"] == "cpu")
    assert cpu["maxReplicas"] == 7
    # The removal, which must leave nothing, is the fixture's.
