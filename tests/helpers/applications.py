"""Argo CD's Applications: what it says of them, and how a person asks it for something."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from testcluster.argocd import NAMESPACE
from testcluster.client import Kubectl, wait_for
from tests.helpers.pods_by_hand import run_pods

KIND = "applications.argoproj.io"
REFRESH = "argocd.argoproj.io/refresh"
SECONDS = 300
Object = dict[str, Any]


class Applications:
    """Those of one Argo CD. Whoever waits for them runs the pods meanwhile (`pods_by_hand`), unless
    it is told that none runs."""

    def __init__(self, cluster: Kubectl, *, runs_pods: bool = True) -> None:
        self.cluster = cluster
        self._runs_pods = runs_pods
        self.kubectl = cluster.within(NAMESPACE)

    def get(self, name: str) -> Object:
        return self.kubectl.get(KIND, name)

    def all(self) -> dict[str, Object]:
        return {item["metadata"]["name"]: item for item in self.kubectl.list(KIND)}

    def until(self, what: str, seen: Callable[[], Any], seconds: float = SECONDS) -> Any:
        """Waits, and on failure shows what Argo CD says of each."""

        def look() -> Any:
            if self._runs_pods:
                run_pods(self.cluster)
            return seen()

        return wait_for(what, look, seconds=seconds, explain=self._explain)

    def refresh(self, name: str) -> Object:
        """Has it look at Git and the cluster at once, as a webhook would; its new state."""
        self.kubectl("annotate", KIND, name, f"{REFRESH}=normal", "--overwrite")

        def looked() -> Object | None:
            found = self.get(name)
            return None if REFRESH in found["metadata"].get("annotations", {}) else found

        state: Object = self.until(f"a look at {name}", looked)
        return state

    def reaches(self, name: str, revision: str) -> Object:
        """Waits until this revision is what runs: compared, synced, and its sync over."""
        self.refresh(name)
        found: Object = self.until(f"{name} at {revision}", lambda: self.is_at(name, revision))
        return found

    def is_at(self, name: str, revision: str) -> Object | None:
        """Its state, if this revision is what runs."""
        item = self.get(name)
        status = item.get("status", {})
        sync, operation = status.get("sync", {}), status.get("operationState", {})
        done = operation.get("phase") == "Succeeded"
        at = (sync.get("status"), sync.get("revision")) == ("Synced", revision)
        return item if at and done else None

    def has_health(self, name: str, health: str) -> bool:
        return bool(health_of(self.get(name)) == health)

    def patch(self, name: str, change: Object) -> None:
        self.kubectl("patch", KIND, name, "--type=merge", f"--patch={json.dumps(change)}")

    def _explain(self) -> str:
        lines = []
        for name, item in self.all().items():
            status = item.get("status", {})
            operation = status.get("operationState", {})
            said = [each.get("message", "") for each in status.get("conditions", [])]
            lines.append(
                f"{name}: {status.get('sync', {}).get('status')}, {health_of(item)}, "
                f"{operation.get('phase')}: {operation.get('message', '')} {said}"
            )
        return "\n".join(lines)


def health_of(item: Object) -> str:
    return str(item.get("status", {}).get("health", {}).get("status"))


def is_settled(item: Object) -> bool:
    """Synced and Healthy."""
    sync = item.get("status", {}).get("sync", {}).get("status")
    return (sync, health_of(item)) == ("Synced", "Healthy")
