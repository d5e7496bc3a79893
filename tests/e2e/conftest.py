"""The cluster that the end-to-end tests use, namespaces in it, the images, the installed chart.

The cluster is the context E2E_CONTEXT where that is set, else the one that `make cluster-up` made.
A KUBECONFIG that merely exists is never used: these tests delete pods.
"""

import json
import os
from collections.abc import Iterator

import pytest
from testcluster.client import Kubectl
from testcluster.settings import KUBECONFIG, project_version
from tests.helpers.namespaces import new_namespace, stem_of
from tests.helpers.release import Release

# Empty until a task asks for a GPU; `test_gpu_pool.py` makes a node that has some.
GPU_POOL = {
    "gpus": 1,
    "maxReplicas": 1,
    "nodeSelector": {"accelerator": "test"},
    "resources": {"requests": {"cpu": "100m", "memory": "1Gi"}, "limits": {"memory": "3Gi"}},
    "helmTest": False,
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
    with new_namespace(cluster, "e2e", stem_of(request.module.__name__)) as namespace:
        yield namespace


@pytest.fixture(scope="session")
def release(cluster: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """The chart with an S3 server and an empty pool of GPUs, in a namespace of its own.

    Its removal at the end must leave nothing.
    """
    values = tmp_path_factory.mktemp("values") / "gpu-pool.yaml"
    values.write_text(json.dumps({"pools": {"gpu": GPU_POOL}}))
    with new_namespace(cluster, "e2e", "darkroom") as namespace:
        installed = Release(namespace, f"--values={values}")
        installed.upgrade()
        installed.wait_until_ready()
        yield installed
        namespace("delete", "rayjobs", "--all", timeout=180)
        installed.uninstall()


@pytest.fixture
def s3(release: Release) -> Iterator[str]:
    """The release's bucket as a URI, reachable from the test and from the commands it starts."""
    with release.s3_from_here() as bucket:
        yield bucket


@pytest.fixture(scope="session")
def image() -> str:
    """The image under test; E2E_IMAGE names another."""
    return os.environ.get("E2E_IMAGE", f"darkroom:{project_version()}")


@pytest.fixture(scope="session")
def s3_image() -> str:
    """The development S3 server's image; E2E_S3_IMAGE names another."""
    return os.environ.get("E2E_S3_IMAGE", f"darkroom-seaweedfs:{project_version()}")
