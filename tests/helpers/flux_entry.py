"""A control plane with Flux, and a Git repository with our entry points."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from testcluster import flux, kuberay
from testcluster.client import Kubectl
from testcluster.control_plane import ControlPlane, control_plane
from testcluster.light import start_operator
from tests.helpers.flux_objects import FluxObjects
from tests.helpers.git_repository import BRANCH, GitRepository
from tests.helpers.served_entry_points import served_entry_points

KIND = "kustomizations.kustomize.toolkit.fluxcd.io"
ENTER_SECONDS = 420


@dataclass(frozen=True)
class FluxEntry:
    """What a test of an entry point works with."""

    plane: ControlPlane
    cluster: Kubectl
    repository: GitRepository
    flux: FluxObjects
    warnings: list[str] = field(default_factory=list)
    """What went wrong on the way of `enter_cluster`, by Flux's own events."""

    def enter(self, place: str) -> list[str]:
        """Applies an entry point by the documented command; the names of its Kustomizations."""
        folder = self.repository.checkout / "manifests" / "clusters" / place
        self.cluster.within(flux.NAMESPACE)("apply", f"--kustomize={folder}")
        rendered = yaml.safe_load_all(self.cluster("kustomize", str(folder)))
        return [item["metadata"]["name"] for item in rendered if item["kind"] == "Kustomization"]

    def begin_cluster(self, environment: str) -> list[str]:
        """Enters a cluster's, and starts the operator when its account has come.

        A kubelet would run the pod of the operator's Deployment; here the program runs beside the
        cluster, as that account.
        """
        names = self.enter(f"{environment}/flux")
        operator = ("serviceaccount", "kuberay-operator", kuberay.NAMESPACE)
        self.flux.until("the operator's account", lambda: self.flux.get(*operator))
        start_operator(self.plane)
        return names

    def enter_cluster(self, environment: str) -> list[str]:
        """The same, and waits until all of it is ready."""
        names = self.begin_cluster(environment)
        self.flux.until("all ready", lambda: all(map(self.is_ready, names)), seconds=ENTER_SECONDS)
        events = ["events", "--all-namespaces", "--field-selector=type=Warning", "--output=json"]
        for event in json.loads(self.cluster("get", *events))["items"]:
            about = event["involvedObject"]
            if about["kind"] in {"Kustomization", "HelmRelease"}:
                self.warnings.append(f"{about['name']}: {event['message']}")
        return names

    def is_ready(self, name: str) -> bool:
        return self.flux.is_ready(KIND, name, flux.NAMESPACE)

    def reaches(self, revision: str, *names: str) -> None:
        """Has Flux look at Git, and waits until Kustomizations have applied this revision."""
        self.flux.reconcile("gitrepository", "darkroom", flux.NAMESPACE)

        def applied(name: str) -> bool:
            status = self.flux.get(KIND, name, flux.NAMESPACE)["status"]
            at = status.get("lastAppliedRevision") == f"{BRANCH}@sha1:{revision}"
            return at and self.is_ready(name)

        self.flux.until(f"revision {revision}", lambda: all(map(applied, names)))


@contextmanager
def new_flux_entry(folder: Path) -> Iterator[FluxEntry]:
    """Starts all of it in an empty folder: nothing of ours is in the cluster."""
    with (
        control_plane(folder / "cluster") as plane,
        served_entry_points(folder / "served") as repository,
    ):
        flux.start(plane)
        cluster = Kubectl(f"--kubeconfig={plane.admin}")
        yield FluxEntry(plane, cluster, repository, FluxObjects(cluster))
