"""The control plane of these tests: started once, without a node (`hack/testcluster/light.py`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from testcluster.client import Kubectl
from testcluster.light import light_cluster
from testcluster.settings import path_with_binaries
from tests.helpers.namespaces import new_namespace, stem_of
from tests.helpers.processes import free_port


@pytest.fixture(scope="session")
def operator_metrics() -> int:
    """The port at which the operator exports its metrics."""
    return free_port()


@pytest.fixture(scope="session")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory, operator_metrics: int) -> Iterator[Path]:
    """The administrator's kubeconfig of a control plane with the operator."""
    with (
        pytest.MonkeyPatch.context() as environment,
        light_cluster(
            tmp_path_factory.mktemp("light"), metrics_port=operator_metrics
        ) as kubeconfig,
    ):
        environment.setenv("PATH", path_with_binaries()["PATH"])
        yield kubeconfig


@pytest.fixture(scope="session")
def cluster(kubeconfig: Path) -> Kubectl:
    """kubectl on it."""
    return Kubectl(f"--kubeconfig={kubeconfig}")


@pytest.fixture(scope="module")
def namespace(cluster: Kubectl, request: pytest.FixtureRequest) -> Iterator[Kubectl]:
    """kubectl in a new namespace that enforces the restricted pod security standard."""
    with new_namespace(cluster, "light", stem_of(request.module.__name__)) as namespace:
        yield namespace
