"""RayServices on a control plane without a node: the chart's, and states that a test writes."""

from __future__ import annotations

import json
from typing import Any

import yaml
from testcluster.client import Kubectl
from testcluster.settings import PROJECT

SERVICE_CHART = PROJECT / "charts" / "darkroom-service"


def service_manifest(
    namespace: Kubectl,
    name: str,
    *,
    managed: bool = False,
    annotations: dict[str, str] | None = None,
) -> str:
    """The chart's RayService, as JSON; its service account is another object of the chart.

    managed: the operator leaves it alone, so that a test may write its state.
    """
    rendered = namespace.template(name, SERVICE_CHART, f"--values={SERVICE_CHART}/ci/kind.yaml")
    (found,) = (item for item in yaml.safe_load_all(rendered) if item["kind"] == "RayService")
    found["metadata"]["annotations"] = annotations or {}
    if managed:
        found["spec"]["managedBy"] = "kueue.x-k8s.io/multikueue"
    return json.dumps(found)


def write_service_status(
    namespace: Kubectl, name: str, ready: str, reason: str, **status: Any
) -> None:
    """What the operator would write, as far as following and metrics read it."""
    now = "2026-01-01T00:00:00Z"
    condition = {
        "type": "Ready", "status": ready, "reason": reason, "message": reason,
        "lastTransitionTime": now,
    }  # fmt: skip
    generation = namespace.get("rayservice", name)["metadata"]["generation"]
    whole = {"conditions": [condition], "observedGeneration": generation, **status}
    namespace.write_status("rayservice", name, whole)
