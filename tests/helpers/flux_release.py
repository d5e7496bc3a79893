"""The development release under Flux: its versions, its pool, and how its values change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.helpers.flux_objects import FluxObjects
from tests.helpers.queued import scale, workers

NAME, NAMESPACE = "darkroom", "darkroom-dev"
KIND = "helmrelease"
Object = dict[str, Any]


class FluxRelease:
    """A HelmRelease of the cluster, and what it has made."""

    def __init__(self, flux: FluxObjects, namespace: str = NAMESPACE) -> None:
        self.flux = flux
        self.namespace = namespace
        self.kubectl = flux.cluster.within(namespace)

    def is_ready(self) -> bool:
        return self.flux.is_ready(KIND, NAME, self.namespace)

    def condition(self, condition: str) -> Object:
        return self.flux.condition(KIND, NAME, self.namespace, condition)

    def history(self) -> list[Object]:
        """The release's versions, the newest first."""
        return list(self.kubectl.get(KIND, NAME)["status"]["history"])

    def version(self) -> int:
        return int(self.history()[0]["version"])

    def upgraded(self, before: int) -> None:
        """Waits until a version later than `before` is ready."""
        self.flux.until("the upgrade", lambda: self.is_ready() and self.version() > before)

    def reconcile(self) -> None:
        self.flux.reconcile(KIND, NAME, self.namespace)

    def pool(self) -> Object:
        (found,) = self.kubectl.get("raycluster", NAME)["spec"]["workerGroupSpecs"]
        return dict(found)

    def image(self) -> str:
        return str(self.pool()["template"]["spec"]["containers"][0]["image"])

    def workers(self) -> list[str]:
        """Names of workers that are not on their way out."""
        return workers(self.kubectl, NAME, gated=False)

    @contextmanager
    def scaled(self) -> Iterator[None]:
        """While two workers run that the autoscaler asked for; afterwards none."""
        scale(self.kubectl, NAME, 2)
        self.flux.until("two workers", lambda: len(self.workers()) == 2)
        yield
        scale(self.kubectl, NAME, 0, *self.workers())
        self.flux.until("no workers", lambda: not self.workers())

    def keys(self) -> Object:
        """Those that the chart made for the S3 server of development."""
        return dict(self.kubectl.get("secret", f"{NAME}-s3")["data"])
