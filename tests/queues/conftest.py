"""A control plane with KubeRay's operator and Kueue's manager, no node; the queues as shipped."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from testcluster.client import Kubectl, wait_for
from testcluster.light import light_cluster
from testcluster.settings import PROJECT, path_with_binaries
from tests.helpers.namespaces import new_namespace
from tests.helpers.queued import taken

CONFIGS = PROJECT / "manifests" / "infrastructure" / "configs"


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    """kubectl on it, the cluster queue and its flavors made."""
    with (
        pytest.MonkeyPatch.context() as environment,
        light_cluster(tmp_path_factory.mktemp("queues"), queues=True) as kubeconfig,
    ):
        environment.setenv("PATH", path_with_binaries()["PATH"])
        kubectl = Kubectl(f"--kubeconfig={kubeconfig}")
        for name in ("kueue-flavors.yaml", "kueue-queues.yaml"):
            kubectl("apply", "--server-side", f"--filename={CONFIGS / name}")
        yield kubectl


@pytest.fixture
def namespace(cluster: Kubectl) -> Iterator[Kubectl]:
    """kubectl in a namespace of Darkroom's with its local queue; its jobs go before it does."""
    with new_namespace(cluster, "queues", "jobs") as found:
        cluster("label", "namespace", found.namespace, "app.kubernetes.io/part-of=darkroom")
        found("apply", "--server-side", f"--kustomize={PROJECT / 'manifests' / 'queues'}")
        yield found
        found("delete", "rayjobs", "--all", timeout=120)
        wait_for(
            "an empty queue",
            lambda: {*taken(cluster).values()} <= {"0"},
            seconds=120,
            explain=lambda: found("get", "workloads", "--output=yaml"),
        )
