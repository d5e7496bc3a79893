"""The smallest RayJob by hand, without any chart: a cluster of its own, one worker from zero."""

from __future__ import annotations

from typing import Any

from testcluster.client import pod_spec

# The worker pool is empty at the start: the autoscaler must bring the CPU that the task asks for.
PROGRAM = (
    "import ray; ray.init(); square = ray.remote(num_cpus=1)(lambda x: x * x); "
    "print('squares', sum(ray.get([square.remote(i) for i in range(10)])))"
)
LAST_WORD = "squares 285"
SMALL: dict[str, Any] = {"requests": {"cpu": "100m", "memory": "1Gi"}, "limits": {"memory": "3Gi"}}
SIDECAR: dict[str, Any] = {"requests": {"cpu": "50m", "memory": "256Mi"}}


def _ray_pod(image: str, container: str) -> dict[str, Any]:
    return {"spec": pod_spec(image, name=container, resources=SMALL)}


def plain_rayjob(image: str, name: str = "squares", ray_version: str = "2.60.0") -> dict[str, Any]:
    """Done when its log says LAST_WORD."""
    security = pod_spec(image)["containers"][0]["securityContext"]
    cluster: dict[str, Any] = {
        "rayVersion": ray_version,
        "authOptions": {"mode": "token"},
        "enableInTreeAutoscaling": True,
        "autoscalerOptions": {"version": "v2", "securityContext": security, "resources": SIDECAR},
        "headGroupSpec": {
            "rayStartParams": {"num-cpus": "0", "object-store-memory": "100000000"},
            "template": _ray_pod(image, "ray-head"),
        },
        "workerGroupSpecs": [
            {
                "groupName": "cpu",
                "replicas": 0,
                "minReplicas": 0,
                "maxReplicas": 1,
                "rayStartParams": {"num-cpus": "1", "object-store-memory": "100000000"},
                "template": _ray_pod(image, "ray-worker"),
            }
        ],
    }
    # The head of an autoscaling cluster talks to the API server: it needs its service account.
    cluster["headGroupSpec"]["template"]["spec"]["automountServiceAccountToken"] = True
    submitter = pod_spec(image, name="submitter", resources=SIDECAR)
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": name},
        "spec": {
            "entrypoint": f'python -c "{PROGRAM}"',
            "shutdownAfterJobFinishes": True,
            "preRunningDeadlineSeconds": 240,
            "submitterPodTemplate": {"spec": submitter},
            "rayClusterSpec": cluster,
        },
    }
