"""How large the cluster is, or can become: for refusing what would wait for ever.

KubeRay's autoscaler does not tell Ray how far it may scale, so on a cluster of its kind nothing
that could be added one day is refused; Kubernetes' own limits hold there.
"""

from __future__ import annotations

import math
from typing import Any

import ray


def most_cpus() -> float:
    """CPUs that are there, or that the autoscaler may add; infinite where nobody can tell."""
    present: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return max(present.get("CPU", 0.0), _autoscaler_limit("CPU"))


def gpus_of_nodes() -> list[float] | None:
    """GPUs of each node that is there, then what may be added; None where nobody can tell."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    present = [float(node["Resources"].get("GPU", 0)) for node in nodes if node["Alive"]]
    more = _autoscaler_limit("GPU") - sum(present)
    if math.isinf(more):
        return None
    return [*present, more] if more > 0 else present


def _autoscaler_limit(resource: str) -> float:
    """How much of a resource an autoscaling cluster could have; 0 where nothing scales."""
    from ray._private.state import state
    from ray.autoscaler.v2.utils import is_autoscaler_v2

    limits = state.get_max_resources_from_cluster_config()
    if limits is None:
        return math.inf if is_autoscaler_v2(fetch_from_server=True) else 0.0
    return float(limits.get(resource, 0))
