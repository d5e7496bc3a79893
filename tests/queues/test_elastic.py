"""An autoscaled RayJob in the shipped queue: what it takes follows its workers, never over quota.

The test scales in the autoscaler's place, for no Ray runs here: it writes how many workers into
the RayCluster. Kueue and the operator do the rest.
"""

from __future__ import annotations

from testcluster.client import Kubectl
from tests.helpers.queued import (
    fixed,
    reserves,
    scale,
    starts,
    submit,
    until,
    waits,
    workers,
)

QUOTA = 16
GPUS = 4
"""Of each worker."""


def test_workers_get_in_one_by_one_and_the_fifth_waits(namespace: Kubectl) -> None:
    submit(namespace, "elastic", f"pools.gpu.gpus={GPUS}", "pools.gpu.maxReplicas=8")
    cluster = starts(namespace, "elastic")["metadata"]["name"]
    until(namespace, "a head let go", lambda: _head_is_free(namespace, cluster))
    reserves(namespace, 0)

    scale(namespace, cluster, 2)
    until(namespace, "two workers", lambda: len(workers(namespace, cluster, gated=False)) == 2)
    reserves(namespace, 2 * GPUS)

    lost = workers(namespace, cluster, gated=False)[0]
    namespace("delete", "pod", lost, "--grace-period=0", "--force", timeout=60)

    def replaced() -> bool:
        free = workers(namespace, cluster, gated=False)
        return len(free) == 2 and lost not in free

    until(namespace, "another in its place", replaced)
    reserves(namespace, 2 * GPUS)

    scale(namespace, cluster, 4)
    until(namespace, "four workers", lambda: len(workers(namespace, cluster, gated=False)) == 4)
    reserves(namespace, QUOTA)

    scale(namespace, cluster, 5)
    until(namespace, "a fifth", lambda: len(workers(namespace, cluster, gated=True)) == 1)
    submit(namespace, "other", *fixed(gpus=1))
    waits(namespace, "other")
    assert len(workers(namespace, cluster, gated=False)) == 4
    reserves(namespace, QUOTA)

    free = workers(namespace, cluster, gated=False)
    held = workers(namespace, cluster, gated=True)
    scale(namespace, cluster, 3, free[0], *held)
    until(namespace, "three workers", lambda: len(workers(namespace, cluster, gated=False)) == 3)
    starts(namespace, "other")
    reserves(namespace, 3 * GPUS + 1)


def _head_is_free(kubectl: Kubectl, cluster: str) -> bool:
    pods = kubectl.list("pods", f"ray.io/cluster={cluster},ray.io/node-type=head")
    return bool(pods) and not pods[0]["spec"].get("schedulingGates")
