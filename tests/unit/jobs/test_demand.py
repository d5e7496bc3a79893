"""What Ray's autoscaler reports, said in one line; the wait itself is in tests/integration."""

from __future__ import annotations

import pytest
from ray.autoscaler.v2.schema import (
    ClusterStatus,
    LaunchRequest,
    NodeInfo,
    NodeUsage,
    PlacementGroupResourceDemand,
    RayTaskActorDemand,
    ResourceDemandSummary,
    ResourceRequestByCount,
    ResourceUsage,
)

from darkroom.errors import ConfigError
from darkroom.jobs.demand import TIMEOUT_VARIABLE, _timeout_seconds, describe
from darkroom.jobs.reservation import reserved_cpus

GPU, CPU = {"GPU": 1.0}, {"CPU": 1.0}


def node(pool: str, *, used: float = 0.0, **total: float) -> NodeInfo:
    usage = [ResourceUsage(name, count, used) for name, count in total.items()]
    return NodeInfo(pool, pool, "i", "10.0.0.1", resource_usage=NodeUsage(usage, 0))


def demands(*bundles: tuple[dict[str, float], int], gang: bool = False) -> ResourceDemandSummary:
    counted = [ResourceRequestByCount(bundle, count) for bundle, count in bundles]
    if gang:
        group = PlacementGroupResourceDemand(counted, details="")
        return ResourceDemandSummary(placement_group_demand=[group])
    return ResourceDemandSummary(ray_task_actor_demand=[RayTaskActorDemand(counted)])


def test_a_demand_that_no_node_offers_and_no_pool_fills() -> None:
    status = ClusterStatus(idle_nodes=[node("cpu", CPU=4)], resource_demands=demands((GPU, 2)))
    assert describe(status) == (
        "no node offers 2 x {GPU: 1}, and no pool that could is being started"
    )


def test_the_pools_that_are_pending_are_named() -> None:
    launch = LaunchRequest("gpu", "gpu", 1, LaunchRequest.Status.PENDING, 0)
    status = ClusterStatus(
        idle_nodes=[node("cpu", CPU=4)],
        pending_launches=[launch],
        pending_nodes=[node("gpu")],
        resource_demands=demands(({"CPU": 1.0, "GPU": 0.5}, 1)),
    )
    assert describe(status) == "no node offers 1 x {CPU: 1, GPU: 0.5}; Pending: 2 of pool gpu"


def test_a_busy_node_that_could_serve_it_is_no_fault() -> None:
    status = ClusterStatus(
        active_nodes=[node("cpu", used=4, CPU=4)], resource_demands=demands((CPU, 100))
    )
    assert describe(status) == ""


@pytest.mark.parametrize(("num_nodes", "is_said"), [(1, True), (2, False)])
def test_workers_that_start_together_must_fit_together(num_nodes: int, *, is_said: bool) -> None:
    status = ClusterStatus(
        idle_nodes=[node("gpu", GPU=1, CPU=0)] * num_nodes,
        resource_demands=demands((GPU, 2), gang=True),
    )
    assert bool(describe(status)) == is_said


def test_what_ray_adds_by_itself_is_no_demand() -> None:
    inside = {"CPU_group_0_ab": 1.0, "bundle_group_0_ab": 0.001}
    implicit = {"node:__internal_implicit_resource_x": 1.0, "CPU": 1.0}
    status = ClusterStatus(
        idle_nodes=[node("cpu", CPU=1)], resource_demands=demands((inside, 1), (implicit, 1))
    )
    assert describe(status) == ""


@pytest.mark.parametrize("text", ["0", "-1", "soon", "nan"])
def test_a_limit_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(TIMEOUT_VARIABLE, text)
    with pytest.raises(ConfigError, match=TIMEOUT_VARIABLE):
        _timeout_seconds()


@pytest.mark.parametrize(
    ("num_cpus", "num_gpus", "expected"),
    [(None, 0, 1.0), (None, 0.3, 0.0), (None, 2, 0.0), (2.0, 1, 2.0), (0.5, 0, 0.5)],
)
def test_a_worker_with_a_gpu_reserves_no_cpu_unless_told(
    num_cpus: float | None, num_gpus: float, expected: float
) -> None:
    assert reserved_cpus(num_cpus, num_gpus) == expected
