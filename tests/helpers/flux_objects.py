"""Flux's objects: what it says of them, and how a person has it look again."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from typing import Any

from testcluster.client import Kubectl, wait_for
from tests.helpers.pods_by_hand import run_pods

SECONDS = 180
Object = dict[str, Any]


class FluxObjects:
    """Those of one cluster. Whoever waits for them runs the pods meanwhile (`pods_by_hand`)."""

    def __init__(self, cluster: Kubectl) -> None:
        self.cluster = cluster

    def until(
        self, what: str, seen: Callable[[], Any], *, seconds: float = SECONDS, pods: bool = True
    ) -> Any:
        """Waits; meanwhile the pods run, unless the test has them wait."""

        def look() -> Any:
            if pods:
                run_pods(self.cluster)
            return seen()

        return wait_for(what, look, seconds=seconds, explain=self._explain)

    def get(self, kind: str, name: str, namespace: str) -> Object:
        """An object, empty where there is none."""
        found = self.cluster.within(namespace).run("get", kind, name, "--output=json")
        return dict(json.loads(found.stdout)) if found.returncode == 0 else {}

    def condition(self, kind: str, name: str, namespace: str, condition: str) -> Object:
        """A condition of an object; empty when it has none of the kind."""
        found = self.get(kind, name, namespace).get("status", {}).get("conditions", [])
        return next((dict(each) for each in found if each["type"] == condition), {})

    def is_ready(self, kind: str, name: str, namespace: str) -> bool:
        """Whether it is ready, of its spec as it is now."""
        item = self.get(kind, name, namespace)
        return any(
            (each["type"], each["status"]) == ("Ready", "True")
            and each.get("observedGeneration") == item["metadata"]["generation"]
            for each in item.get("status", {}).get("conditions", [])
        )

    def reconcile(self, kind: str, name: str, namespace: str) -> None:
        """Has Flux look again, as `flux reconcile` does, and waits until it has."""
        token = secrets.token_hex(4)
        asked = f"reconcile.fluxcd.io/requestedAt={token}"
        self.cluster.within(namespace)("annotate", kind, name, asked, "--overwrite")

        def handled() -> bool:
            status = self.get(kind, name, namespace).get("status", {})
            return bool(status.get("lastHandledReconcileAt") == token)

        self.until(f"a look at {kind} {name}", handled)

    def _explain(self) -> str:
        kinds = "kustomizations.kustomize.toolkit.fluxcd.io,helmreleases,helmcharts,buckets,pods"
        everywhere = ["--all-namespaces", "--output=wide"]
        shown = self.cluster.run("get", kinds, *everywhere).stdout
        sources = self.cluster.run("get", "gitrepositories,helmrepositories", *everywhere).stdout
        events = ["events", "--all-namespaces", "--sort-by=.lastTimestamp"]
        return f"{shown}{sources}{self.cluster.run('get', *events).stdout[-6000:]}"
