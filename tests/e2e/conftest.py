"""The cluster that the end-to-end tests use, a namespace per module, and the images under test.

The cluster is the context E2E_CONTEXT where that is set, else the one that `make cluster-up` made.
A KUBECONFIG that merely exists is never used: these tests delete pods.
"""

import os
import secrets
from collections.abc import Iterator

import pytest
from testcluster.client import Kubectl
from testcluster.settings import KUBECONFIG, project_version

RESTRICTED = {
    f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")
}


@pytest.fixture(scope="session")
def cluster() -> Kubectl:
    """kubectl on the cluster under test."""
    if context := os.environ.get("E2E_CONTEXT"):
        return Kubectl(f"--context={context}")
    if not KUBECONFIG.exists():
        pytest.exit("no test cluster runs: make e2e, or make cluster-up first", returncode=2)
    return Kubectl(f"--kubeconfig={KUBECONFIG}")


@pytest.fixture(scope="session")
def own_cluster(cluster: Kubectl) -> Kubectl:
    """kubectl on a cluster that `make cluster-up` made: for what touches the operator or a node."""
    if "E2E_CONTEXT" in os.environ:
        pytest.skip("touches the operator or a node: only on a cluster that make cluster-up made")
    return cluster


@pytest.fixture(scope="module")
def namespace(cluster: Kubectl, request: pytest.FixtureRequest) -> Iterator[Kubectl]:
    """kubectl in a new namespace that enforces the restricted pod security standard."""
    stem = request.module.__name__.rsplit(".", 1)[-1].removeprefix("test_").replace("_", "-")
    name = f"e2e-{stem}-{secrets.token_hex(3)}"
    metadata = {"name": name, "labels": RESTRICTED}
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    yield cluster.within(name)
    cluster("delete", "namespace", name, timeout=300)


@pytest.fixture(scope="session")
def image() -> str:
    """The image under test; E2E_IMAGE names another."""
    return os.environ.get("E2E_IMAGE", f"darkroom:{project_version()}")


@pytest.fixture(scope="session")
def s3_image() -> str:
    """The development S3 server's image; E2E_S3_IMAGE names another."""
    return os.environ.get("E2E_S3_IMAGE", f"darkroom-seaweedfs:{project_version()}")
