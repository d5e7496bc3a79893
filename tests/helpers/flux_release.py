"""The development release under Flux: what Flux says of it, and how a test has it look again."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from testcluster import flux
from testcluster.client import Kubectl, wait_for
from tests.helpers.pods_by_hand import run_pods
from tests.helpers.release import upload_folder

NAME, NAMESPACE = "darkroom", "darkroom-dev"
BUCKET = "charts"
SECONDS = 180
Object = dict[str, Any]


class FluxRelease:
    """A HelmRelease, its values' ConfigMap, and the Bucket with its chart."""

    def __init__(self, cluster: Kubectl, charts: Path) -> None:
        self.cluster = cluster
        self.kubectl = cluster.within(NAMESPACE)
        self.charts = charts
        """The folder that the bucket is a copy of."""

    def until(self, what: str, seen: Callable[[], Any], *, pods: bool = True) -> Any:
        """Waits; meanwhile the pods run, unless the test has them wait."""

        def look() -> Any:
            if pods:
                run_pods(self.cluster)
            return seen()

        return wait_for(what, look, seconds=SECONDS, explain=self._explain)

    def holds(self, kind: str, name: str, namespace: str, condition: str = "Ready") -> bool:
        """Whether a condition is true, of the spec as it is now."""
        found = self.cluster.within(namespace).run("get", kind, name, "--output=json")
        item = json.loads(found.stdout) if found.returncode == 0 else {}
        conditions = item.get("status", {}).get("conditions", [])
        return any(
            (each["type"], each["status"]) == (condition, "True")
            and each.get("observedGeneration") == item["metadata"]["generation"]
            for each in conditions
        )

    def condition(self, kind: str) -> Object:
        """A condition of the release; empty when it has none of the kind."""
        found = self.kubectl.get("helmrelease", NAME).get("status", {}).get("conditions", [])
        return next((dict(c) for c in found if c["type"] == kind), {})

    def history(self) -> list[Object]:
        """The release's versions, the newest first."""
        return list(self.kubectl.get("helmrelease", NAME)["status"]["history"])

    def version(self) -> int:
        return int(self.history()[0]["version"])

    def set_values(self, change: Callable[[Object], object]) -> None:
        """Changes the ConfigMap of the values, as kustomize-controller does after a commit."""
        found = self.kubectl.get("configmap", "cluster-values")
        values = yaml.safe_load(found["data"]["values.yaml"])
        change(values)
        patch = json.dumps({"data": {"values.yaml": yaml.safe_dump(values)}})
        self.kubectl("patch", "configmap", "cluster-values", "--type=merge", f"--patch={patch}")

    def publish_charts(self) -> None:
        """Puts the charts into the bucket anew, and has Flux look there."""
        upload_folder(self.charts, f"s3://{BUCKET}")
        self.reconcile("bucket", "darkroom", flux.NAMESPACE)

    def reconcile(self, kind: str, name: str, namespace: str) -> None:
        """Has Flux look again, as `flux reconcile` does, and waits until it has."""
        token = secrets.token_hex(4)
        kubectl = self.cluster.within(namespace)
        asked = f"reconcile.fluxcd.io/requestedAt={token}"
        kubectl("annotate", kind, name, asked, "--overwrite")

        def handled() -> bool:
            status = kubectl.get(kind, name).get("status", {})
            return bool(status.get("lastHandledReconcileAt") == token)

        self.until(f"a look at {kind} {name}", handled)

    def upgraded(self, before: int) -> None:
        """Waits until a version later than `before` is ready."""

        def is_newer() -> bool:
            return self.holds("helmrelease", NAME, NAMESPACE) and self.version() > before

        self.until("the upgrade", is_newer)

    def _explain(self) -> str:
        kinds = "helmreleases,helmcharts,buckets,pods"
        shown = self.cluster.run("get", kinds, "--all-namespaces", "--output=wide").stdout
        return shown + self.kubectl.run("get", "events", "--sort-by=.lastTimestamp").stdout[-4000:]
