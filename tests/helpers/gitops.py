"""A control plane with Argo CD, and a Git repository with our entry points."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from testcluster import argocd
from testcluster.client import Kubectl
from testcluster.control_plane import ControlPlane, control_plane
from testcluster.light import start_operator
from testcluster.settings import PROJECT
from tests.helpers.applications import Applications
from tests.helpers.git_repository import GitRepository
from tests.helpers.served_entry_points import served_entry_points

HEALTH = PROJECT / "manifests" / "clusters" / "argocd-health.yaml"


@dataclass(frozen=True)
class GitOps:
    """What a test of GitOps works with."""

    plane: ControlPlane
    cluster: Kubectl
    repository: GitRepository
    applications: Applications

    def enter(self, apply: Callable[[], object]) -> None:
        """Applies an entry point; the operator starts as soon as Argo CD has brought its own.

        A kubelet would run its Deployment's pod; here the program runs beside the cluster, as the
        account that came with it.
        """
        apply()

        def brought() -> bool:
            item = self.applications.all().get("kuberay", {})
            return bool(item.get("status", {}).get("sync", {}).get("status") == "Synced")

        self.applications.until("the operator's kinds and account", brought)
        start_operator(self.plane)


@contextmanager
def new_gitops(folder: Path) -> Iterator[GitOps]:
    """Starts all of it in an empty folder: nothing of ours is in the cluster but the checks."""
    with (
        control_plane(folder / "cluster") as plane,
        served_entry_points(folder / "served") as repository,
    ):
        argocd.start(plane)
        cluster = Kubectl(f"--kubeconfig={plane.admin}")
        applications = Applications(cluster)
        applications.kubectl("apply", "--server-side", f"--filename={HEALTH}")
        yield GitOps(plane, cluster, repository, applications)


def entry_applications(repository: GitRepository, environment: str, cluster: Kubectl) -> list[str]:
    """The names of the Applications of an entry point."""
    place = repository.checkout / "manifests" / "clusters" / environment / "argocd"
    rendered = yaml.safe_load_all(cluster("kustomize", str(place)))
    return [item["metadata"]["name"] for item in rendered if item["kind"] == "Application"]
