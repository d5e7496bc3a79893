"""The development overlay on a test cluster, as a user installs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from testcluster.client import Kubectl
from testcluster.settings import PROJECT
from tests.helpers.release import CHART, NAME, Release

OVERLAY = PROJECT / "manifests" / "overlays" / "dev"
NAMESPACE = "darkroom-dev"  # the overlay's own


@contextmanager
def installed_dev(cluster: Kubectl) -> Iterator[Release]:
    """The overlay's cluster, installed and ready in the overlay's namespace."""
    cluster("apply", "--server-side", "--kustomize", str(OVERLAY / "namespace"))
    namespace = cluster.within(NAMESPACE)
    values = OVERLAY / "values" / "cluster-values.yaml"
    installed = namespace.helm("install", NAME, str(CHART), f"--values={values}")
    assert installed.returncode == 0, installed.stderr
    release = Release(namespace)
    release.wait_until_ready()
    yield release
    # While the cluster lives: the operator stops a deleted job on it, and waits when it cannot.
    namespace("delete", "rayjobs", "--all", timeout=180)
    release.uninstall()
    cluster("delete", "namespace", NAMESPACE, timeout=300)
