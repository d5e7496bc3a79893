"""RayJobs of darkroom-job in a queue, and what Kueue says of them."""

from __future__ import annotations

import json
from typing import Any

from testcluster.client import Kubectl, wait_for
from tests.helpers.owners import owned
from tests.helpers.release import JOB_CHART

QUEUE = "darkroom"
FLAVOR, GPU = "gpu-spot", "nvidia.com/gpu"
SECONDS = 120
Object = dict[str, Any]


def submit(kubectl: Kubectl, name: str, *settings: str) -> None:
    """A queued job on a cluster of its own with one pool `gpu`."""
    values = [
        "verb=train", "recipe=digits", "output=s3://b/run", "kueue.queueName=gpu",
        "pools.cpu=null", "pools.gpu.resources.requests.cpu=1",
        "pools.gpu.resources.requests.memory=1Gi", "pools.gpu.resources.limits.memory=1Gi",
        *settings,
    ]  # fmt: skip
    flags = [f"--set={value}" for value in values]
    kubectl.apply_text(kubectl.template(name, JOB_CHART, *flags))


def fixed(gpus: int) -> list[str]:
    """Settings of one worker that is always there."""
    pool = {"gpus": gpus, "minReplicas": 1, "maxReplicas": 1}
    return ["autoscaler.enabled=false", *(f"pools.gpu.{k}={v}" for k, v in pool.items())]


def workloads(kubectl: Kubectl, job: str) -> list[Object]:
    """Kueue's accounts of a RayJob, those of an elastic one's former sizes too."""
    return owned(kubectl, "workloads.kueue.x-k8s.io", "RayJob", job)


def condition(workload: Object, kind: str) -> Object:
    """A condition of a Workload; empty when it has none of the kind."""
    found = workload.get("status", {}).get("conditions", [])
    return next((dict(c) for c in found if c["type"] == kind), {})


def holds(workload: Object, kind: str) -> bool:
    return condition(workload, kind).get("status") == "True"


def cluster_of(kubectl: Kubectl, job: str) -> Object | None:
    """The RayCluster that the operator made for the job, unless it is on its way out."""
    found = kubectl.list("rayclusters", f"ray.io/originated-from-cr-name={job}")
    living = [item for item in found if "deletionTimestamp" not in item["metadata"]]
    return living[0] if living else None


def taken(kubectl: Kubectl) -> dict[tuple[str, str], str]:
    """What of the cluster queue is taken, as Kubernetes writes it: by flavor and resource."""
    status = kubectl.get("clusterqueue", QUEUE).get("status", {})
    return {
        (flavor["name"], each["name"]): each.get("total", "0")
        for flavor in status.get("flavorsReservation", [])
        for each in flavor["resources"]
    }


def until(kubectl: Kubectl, what: str, seen: Any, seconds: float = SECONDS) -> Any:
    """Waits, and on failure shows the workloads."""

    def explain() -> str:
        shown = kubectl("get", "workloads,rayjobs,rayclusters", "--output=wide")
        events = kubectl("get", "events", "--sort-by=.lastTimestamp")
        return f"{shown}\n{events[-4000:]}"

    return wait_for(what, seen, seconds=seconds, explain=explain)


def reserves(kubectl: Kubectl, number: int) -> None:
    """Waits for so many GPUs taken: the queue's status follows what it admits by a moment."""
    until(
        kubectl,
        f"{number} GPUs taken",
        lambda: int(taken(kubectl).get((FLAVOR, GPU), "0")) == number,
    )


def starts(kubectl: Kubectl, job: str) -> Object:
    """Waits for admission: Kueue lets the RayJob go, and the operator makes its cluster."""
    found: Object = until(kubectl, f"{job}'s cluster", lambda: cluster_of(kubectl, job))
    assert kubectl.get("rayjob", job)["spec"].get("suspend", False) is False
    return found


def waits(kubectl: Kubectl, job: str) -> Object:
    """Waits for Kueue's word that there is no room; the workload."""

    def refused() -> Object | None:
        for item in workloads(kubectl, job):
            if condition(item, "QuotaReserved").get("status") == "False":
                return item
        return None

    found: Object = until(kubectl, f"{job} to be held", refused)
    assert kubectl.get("rayjob", job)["spec"]["suspend"] is True
    assert cluster_of(kubectl, job) is None
    return found


def scale(kubectl: Kubectl, cluster: str, replicas: int, *without: str) -> None:
    """As the autoscaler does it: the number of workers, and by name those that are to go."""
    group = "/spec/workerGroupSpecs/0"
    patch = [
        {"op": "add", "path": f"{group}/scaleStrategy", "value": {"workersToDelete": [*without]}},
        {"op": "replace", "path": f"{group}/replicas", "value": replicas},
    ]
    kubectl("patch", "raycluster", cluster, "--type=json", f"--patch={json.dumps(patch)}")


def workers(kubectl: Kubectl, cluster: str, *, gated: bool) -> list[str]:
    """Names of worker pods that Kueue still holds by its gate, or has let go."""
    selector = f"ray.io/cluster={cluster},ray.io/node-type=worker"
    return sorted(
        pod["metadata"]["name"]
        for pod in kubectl.list("pods", selector)
        if "deletionTimestamp" not in pod["metadata"]
        and bool(pod["spec"].get("schedulingGates")) is gated
    )
