"""Under Argo CD an upgrade reaches every pool, and the autoscaler's numbers survive it.

Each part is the other project's own code: Argo CD's merge, the API server's admission policy,
KubeRay's reconciler and Ray's autoscaler. Server-side apply takes workerGroupSpecs as a whole.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from schemas import ROOT, download
from testcluster.settings import versions
from tools import answer, kustomize, render

ENVIRONMENTS = ("dev", "staging", "production")
OPTION = "RespectIgnoreDifferences=true"
Cluster = dict[str, Any]

POLICY = next(
    item
    for item in yaml.safe_load_all(
        (ROOT / "manifests/infrastructure/replicas/policy.yaml").read_text()
    )
    if item["kind"] == "MutatingAdmissionPolicy"
)


def application(environment: str) -> dict[str, Any]:
    entry = kustomize(ROOT / "manifests/clusters" / environment / "argocd")
    (item,) = (
        item
        for item in entry
        if item["kind"] == "Application" and item["metadata"]["name"] == "darkroom"
    )
    return item


def rendered(pools: dict[str, Any], tag: str, **values: Any) -> Cluster:
    values |= {"image": {"tag": tag}, "pools": pools}
    (cluster,) = (o for o in render("darkroom-cluster", values) if o["kind"] == "RayCluster")
    return copy.deepcopy(cluster)


def scaled(cluster: Cluster, **replicas: int) -> Cluster:
    """What the autoscaler wrote: numbers, and one worker of each pool that is to go."""
    live = copy.deepcopy(cluster)
    for pool in live["spec"]["workerGroupSpecs"]:
        name = pool["groupName"]
        pool["replicas"] = replicas[name]
        pool["scaleStrategy"] = {"workersToDelete": [f"darkroom-{name}-x"]}
    return live


def argo_cd(item: dict[str, Any], live: Cluster, target: Cluster) -> Cluster:
    spec = item["spec"]
    merged: Cluster = answer(
        "argocd-merge",
        live=live,
        target=target,
        ignoreDifferences=spec["ignoreDifferences"],
        syncOptions=spec["syncPolicy"]["syncOptions"],
    )
    return merged


def api_server(live: Cluster, applied: Cluster, manager: str = "argocd-controller") -> Cluster:
    stored: Cluster = answer(
        "admission-policy", policy=POLICY, object=applied, oldObject=live, fieldManager=manager
    )
    return stored


def pools(cluster: Cluster) -> dict[str, dict[str, Any]]:
    return {pool["groupName"]: pool for pool in cluster["spec"]["workerGroupSpecs"]}


def numbers(cluster: Cluster) -> dict[str, int]:
    return {name: pool["replicas"] for name, pool in pools(cluster).items()}


def without_numbers(cluster: Cluster) -> list[dict[str, Any]]:
    owned = ("replicas", "scaleStrategy")
    return [
        {key: value for key, value in pool.items() if key not in owned}
        for pool in cluster["spec"]["workerGroupSpecs"]
    ]


CPU: dict[str, Any] = {"cpu": {"maxReplicas": 8}}
TWO: dict[str, Any] = {**CPU, "gpu": {"gpus": 1, "maxReplicas": 4}}


def moved(cluster: Cluster) -> Cluster:
    cluster["spec"]["workerGroupSpecs"].reverse()
    return cluster


# What was rendered at first and then, and the numbers after the sync of a cluster that had 3 and 2.
CHANGES: dict[str, tuple[Cluster | Callable[[], Cluster], dict[str, int]]] = {
    "an image": (lambda: rendered(TWO, "2"), {"cpu": 3, "gpu": 2}),
    "a pool more, first in the list": (
        lambda: rendered({**TWO, "big": {"minReplicas": 1}}, "2"),
        {"big": 1, "cpu": 3, "gpu": 2},
    ),
    "a pool less": (lambda: rendered({"cpu": None, "gpu": TWO["gpu"]}, "2"), {"gpu": 2}),
    "another order": (lambda: moved(rendered(TWO, "2")), {"gpu": 2, "cpu": 3}),
    "a lower limit": (
        lambda: rendered({**TWO, "cpu": {"maxReplicas": 1}}, "2"),
        {"cpu": 1, "gpu": 2},
    ),
    "a higher floor": (
        lambda: rendered({**TWO, "cpu": {"minReplicas": 5, "maxReplicas": 8}}, "2"),
        {"cpu": 5, "gpu": 2},
    ),
}
each_change = pytest.mark.parametrize("change", CHANGES)


@each_change
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_upgrade_reaches_pools_and_keeps_numbers(change: str, environment: str) -> None:
    live = scaled(rendered(TWO, "1"), cpu=3, gpu=2)
    make, expected = CHANGES[change]
    target = make() if callable(make) else make
    stored = api_server(live, argo_cd(application(environment), live, target))
    assert numbers(stored) == expected
    assert list(numbers(stored)) == list(numbers(target))
    assert without_numbers(stored) == without_numbers(target)
    for name, pool in pools(stored).items():
        assert pool.get("scaleStrategy") == pools(live).get(name, {}).get("scaleStrategy")


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_what_the_autoscaler_wrote_is_not_applied_over(environment: str) -> None:
    """No difference, so that nothing is written when something else is synced, policy or not."""
    live = scaled(rendered(TWO, "1"), cpu=3, gpu=2)
    assert argo_cd(application(environment), live, rendered(TWO, "1")) == live


@each_change
def test_without_the_policy_pools_arrive_all_the_same(change: str) -> None:
    live = scaled(rendered(TWO, "1"), cpu=3, gpu=2)
    make, _ = CHANGES[change]
    target = make() if callable(make) else make
    assert argo_cd(application("production"), live, target)["spec"] == target["spec"]


def test_argo_cds_own_option_would_keep_every_pool_as_it_was() -> None:
    """Why it is not used: the whole live list takes the place of the new one."""
    item = application("production")
    item["spec"]["syncPolicy"]["syncOptions"].append(OPTION)
    live = scaled(rendered(TWO, "1"), cpu=3, gpu=2)
    target = rendered(TWO, "2")
    stored = argo_cd(item, live, target)
    assert stored["spec"]["workerGroupSpecs"] == live["spec"]["workerGroupSpecs"]
    assert stored["spec"]["headGroupSpec"] == target["spec"]["headGroupSpec"]


@pytest.mark.parametrize("manager", ["kubectl-edit", "kubectl-patch", "python-requests", "helm"])
def test_who_writes_numbers_on_purpose_writes_them(manager: str) -> None:
    live = scaled(rendered(TWO, "1"), cpu=3, gpu=2)
    wanted = scaled(live, cpu=0, gpu=1)
    assert numbers(api_server(live, wanted, manager)) == {"cpu": 0, "gpu": 1}


@pytest.mark.parametrize("manager", ["kubectl", "kubectl-client-side-apply"])
def test_kubectl_apply_keeps_numbers_too(manager: str) -> None:
    live = scaled(rendered(TWO, "1"), cpu=3, gpu=2)
    assert numbers(api_server(live, rendered(TWO, "2"), manager)) == {"cpu": 3, "gpu": 2}


def test_without_an_autoscaler_the_numbers_are_those_of_the_values() -> None:
    live = scaled(rendered(CPU, "1"), cpu=3)
    target = rendered({"cpu": {"replicas": 1}}, "1", autoscaler={"enabled": False})
    assert numbers(api_server(live, target)) == {"cpu": 1}


def test_the_merge_is_argo_cds_word_for_word() -> None:
    ours = (ROOT / "hack/testcluster/go/health/merge/argocd.go").read_text()
    version = versions()["ARGOCD_VERSION"]
    assert f"controller/sync.go of {version}" in ours
    # The module wants a newer Go than the pins': Go fetches that for itself.
    theirs = download(f"github.com/argoproj/argo-cd/v3@{version}")
    functions = re.findall(r"^func .*?^}\n", ours, re.MULTILINE | re.DOTALL)
    assert len(functions) == 4
    source = (theirs / "controller/sync.go").read_text()
    assert [text.splitlines()[0] for text in functions if text not in source] == []


def left(before: Cluster, after: Cluster) -> dict[str, int]:
    """How many workers of each pool the operator keeps; what the autoscaler named is done with."""
    for cluster in (before, after):
        for pool in cluster["spec"]["workerGroupSpecs"]:
            pool.pop("scaleStrategy", None)
    kept: dict[str, int] = answer("kuberay-reconcile", before=before, after=after)["left"]
    return kept


@each_change
def test_where_no_policy_is_no_worker_goes_for_a_number(change: str) -> None:
    live = scaled(rendered(TWO, "1"), cpu=3, gpu=2)
    make, _ = CHANGES[change]
    target = make() if callable(make) else make
    applied = argo_cd(application("production"), live, target)
    # Also of a pool that is no more: the operator looks at those of the spec (docs/upgrades.md).
    assert left(live, applied) == {"cpu": 3, "gpu": 2}


def test_without_an_autoscaler_workers_go_by_the_number() -> None:
    fixed: dict[str, Any] = {"autoscaler": {"enabled": False}}
    before = rendered({"cpu": {"replicas": 3, "maxReplicas": 8}}, "1", **fixed)
    after = rendered({"cpu": {"replicas": 1, "maxReplicas": 8}}, "1", **fixed)
    assert left(before, after) == {"cpu": 1}


class Kubernetes:
    """The two requests that Ray's autoscaler makes: it reads objects and patches the RayCluster."""

    def __init__(self, cluster: Cluster, workers: int) -> None:
        self.cluster = cluster
        self.pods = [self._pod(f"darkroom-cpu-{index}") for index in range(workers)]
        self.patches: list[dict[str, Any]] = []

    @staticmethod
    def _pod(name: str) -> dict[str, Any]:
        labels = {"ray.io/group": "cpu", "ray.io/node-type": "worker"}
        running: dict[str, Any] = {"containerStatuses": [{"state": {"running": {}}}]}
        return {"metadata": {"name": name, "labels": labels}, "status": running}

    def get(self, path: str) -> dict[str, Any]:
        if path.startswith("rayclusters/"):
            return copy.deepcopy(self.cluster)
        return {"items": self.pods, "metadata": {"resourceVersion": "1"}}

    def patch(self, _path: str, payload: list[dict[str, Any]], **_: Any) -> dict[str, Any]:
        self.patches += payload
        return {}


@pytest.mark.parametrize(("launch", "expected"), [({}, 3), ({"cpu": 2}, 5)])
def test_the_autoscaler_puts_its_number_back(launch: dict[str, int], expected: int) -> None:
    """Where no policy is: it counts the workers that run, whatever `replicas` says."""
    provider = pytest.importorskip(
        "ray.autoscaler.v2.instance_manager.cloud_providers.kuberay.cloud_provider"
    )
    kubernetes = Kubernetes(rendered(CPU, "2"), workers=3)
    assert numbers(kubernetes.cluster) == {"cpu": 0}
    autoscaler = provider.KubeRayProvider(
        "darkroom", {"namespace": "darkroom"}, gcs_client=None, k8s_api_client=kubernetes
    )
    autoscaler.launch(shape=launch, request_id="1")
    path = "/spec/workerGroupSpecs/0/replicas"
    assert [p["value"] for p in kubernetes.patches if p["path"] == path] == [expected]
