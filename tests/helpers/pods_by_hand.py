"""The part of a kubelet that operators wait for: pods that say they run, where no node is."""

from __future__ import annotations

import json
from typing import Any

from testcluster.client import Kubectl

NOW = "2026-01-01T00:00:00Z"
_CONDITIONS = ("PodScheduled", "Initialized", "ContainersReady", "Ready")
RUNNING = {
    "phase": "Running",
    "podIP": "10.244.0.99",
    "conditions": [
        {"type": kind, "status": "True", "lastTransitionTime": NOW} for kind in _CONDITIONS
    ],
}


def run_pods(cluster: Kubectl) -> None:
    """Writes of every pod that waits that it runs and is ready, in all namespaces."""
    listed = json.loads(cluster("get", "pods", "--all-namespaces", "--output=json"))["items"]
    for pod in listed:
        if pod["status"].get("phase") == "Pending" and "deletionTimestamp" not in pod["metadata"]:
            write_status(cluster, pod, RUNNING)


def write_status(cluster: Kubectl, pod: dict[str, Any], status: dict[str, Any]) -> None:
    """Writes a pod's status, unless the pod has gone meanwhile."""
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    patch = ["--subresource=status", "--type=merge", f"--patch={json.dumps({'status': status})}"]
    done = cluster.within(namespace).run("patch", "pod", name, *patch)
    assert done.returncode == 0 or "NotFound" in done.stderr, done.stderr
