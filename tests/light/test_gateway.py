"""Incremental upgrades of the service: the operator, its gate open, with Traefik and the chart.

No pod runs, so no cluster becomes ready by itself and no traffic moves: that is
`tests/e2e/test_service_gateway.py`. Here the operator takes the chart's values and makes Gateway,
services and route of them, and Traefik and the operator mean the same by them. That a cluster is
the active one is written by the test into the status, as the operator writes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from testcluster import gateway
from testcluster.client import Kubectl, wait_for
from testcluster.light import light_cluster
from testcluster.settings import PROJECT, path_with_binaries
from tests.helpers.namespaces import new_namespace

CHART = PROJECT / "charts" / "darkroom-service"
NAME = "draw"
INCREMENTAL = [
    "upgrade.incremental.experimental=true",
    f"upgrade.incremental.gatewayClassName={gateway.CLASS}",
    "upgrade.incremental.stepSizePercent=25",
]
SECONDS = 120
"""For an answer of the operator or of Traefik; a busy machine takes its time."""


@pytest.fixture(scope="module")
def namespace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    if not gateway.may_listen():
        pytest.skip("KubeRay's Gateways listen on port 80, which this user may not")
    with (
        pytest.MonkeyPatch.context() as environment,
        light_cluster(tmp_path_factory.mktemp("gateways"), gateways=True) as kubeconfig,
    ):
        environment.setenv("PATH", path_with_binaries()["PATH"])
        cluster = Kubectl(f"--kubeconfig={kubeconfig}")
        with new_namespace(cluster, "light", "gateway") as namespace:
            namespace.apply_text(rendered(namespace))
            yield namespace


def rendered(namespace: Kubectl, *settings: str) -> str:
    flags = [f"--set={each}" for each in (*INCREMENTAL, *settings)]
    return namespace.template(NAME, CHART, f"--values={CHART}/ci/kind.yaml", *flags)


def conditions(status: dict[str, Any]) -> dict[str, str]:
    return {each["type"]: each["status"] for each in status.get("conditions", [])}


def until(namespace: Kubectl, what: str, seen: Any) -> Any:
    def explain() -> str:
        names = "rayservice,raycluster,gateway,httproute,service"
        return namespace.run("get", names, "--output=yaml").stdout[-8000:]

    return wait_for(what, seen, seconds=SECONDS, explain=explain)


def clusters(namespace: Kubectl) -> set[str]:
    return {item["metadata"]["name"] for item in namespace.list("raycluster")}


def route(namespace: Kubectl) -> dict[str, Any] | None:
    items = namespace.list("httproute")
    return items[0] if items else None


def weights(namespace: Kubectl) -> dict[str, int]:
    """Service -> share of the traffic."""
    found = route(namespace)
    if found is None:
        return {}
    ((rule),) = found["spec"]["rules"]
    return {each["name"]: each["weight"] for each in rule["backendRefs"]}


def test_the_class_is_taken(namespace: Kubectl) -> None:
    def accepted() -> bool:
        status = namespace.get("gatewayclass", gateway.CLASS).get("status", {})
        return conditions(status).get("Accepted") == "True"

    until(namespace, "an accepted GatewayClass", accepted)


def test_the_operator_makes_a_gateway_that_traefik_programs(namespace: Kubectl) -> None:
    def programmed() -> dict[str, Any] | None:
        items = namespace.list("gateway")
        ready = items and conditions(items[0].get("status", {})).get("Programmed") == "True"
        return items[0] if ready else None

    found = until(namespace, "a programmed Gateway", programmed)
    assert found["metadata"]["name"] == f"{NAME}-gateway"
    assert found["spec"]["gatewayClassName"] == gateway.CLASS
    ((listener),) = found["spec"]["listeners"]
    assert (listener["port"], listener["protocol"]) == (gateway.PORT, "HTTP")
    (owner,) = found["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"]) == ("RayService", NAME)
    reasons = {event["reason"] for event in namespace.list("events")}
    assert not {each for each in reasons if each.startswith("Invalid")}, reasons


def test_the_route_has_both_clusters_while_one_replaces_the_other(namespace: Kubectl) -> None:
    (first,) = until(namespace, "a cluster", lambda: clusters(namespace))
    active = {"activeServiceStatus": {"rayClusterName": first}, "pendingServiceStatus": None}
    namespace.write_status("rayservice", NAME, active)
    until(namespace, "a route to it", lambda: weights(namespace) == {service_of(first): 100})
    until(namespace, "a route that Traefik takes", lambda: taken(namespace))
    service = namespace.get("service", service_of(first))
    assert service["spec"]["selector"]["ray.io/cluster"] == first

    namespace.apply_text(rendered(namespace, "env.REVISION=second"))
    until(namespace, "another cluster", lambda: len(clusters(namespace)) == 2)
    (second,) = clusters(namespace) - {first}
    both = {service_of(first): 100, service_of(second): 0}
    until(namespace, "a route to both", lambda: weights(namespace) == both)
    until(namespace, "a route that Traefik takes", lambda: taken(namespace))
    groups = namespace.get("raycluster", second)["spec"]["workerGroupSpecs"]
    # KubeRay begins the new cluster at the least number of workers, whatever `replicas` says.
    assert all(group["replicas"] in (0, group["minReplicas"]) for group in groups), groups


def taken(namespace: Kubectl) -> bool:
    """What the operator waits for before it moves any traffic."""
    found = route(namespace)
    if found is None:
        return False
    of_now = [
        conditions(parent)
        for parent in found.get("status", {}).get("parents", [])
        if {c["observedGeneration"] for c in parent["conditions"]}
        == {found["metadata"]["generation"]}
    ]
    return [(c.get("Accepted"), c.get("ResolvedRefs")) for c in of_now] == [("True", "True")]


def service_of(cluster: str) -> str:
    return f"{cluster}-serve-svc"
