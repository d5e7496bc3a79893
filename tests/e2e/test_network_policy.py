"""The charts' network policies, enforced: who reaches whom, on which port, and nobody else.

Pods with the labels of Darkroom's, which listen on every port, stand in for Ray; the policies are
what the charts render with their default values. Every pod tries every other one, what lies outside
of the cluster, DNS and the API server, on every port; what is not in the tables must be refused.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pytest
from testcluster.client import Kubectl, wait_for
from testcluster.settings import LOGS
from tests.helpers.namespaces import new_namespace
from tests.helpers.policed import Charts
from tests.helpers.reach import (
    OF_THE_NODE,
    OUTSIDE,
    PORTS,
    Places,
    Reached,
    as_text,
    listening_pod,
    outside,
)

SETTLE_SECONDS = 60

# Pods of Darkroom in one namespace, by release: darkroom, job, draw, nightly.
CLUSTER = ["cluster-head", "cluster-worker"]
JOB = ["job-head", "job-worker"]
SERVICE = ["service-head", "service-worker"]
HEADS = ["cluster-head", "job-head", "service-head"]
RAY = [*CLUSTER, *JOB, *SERVICE]
SUBMITTERS = ["submitter", "job-submitter"]
DARKROOM = [*RAY, *SUBMITTERS, "schedule", "s3"]
# No policy selects these: a pod beside Darkroom's, one elsewhere with a submitter's labels, and a
# pod each in the namespaces of the operator, of DNS and of Prometheus.
OTHERS = ["other", "impostor", "operator", "dns-pod", "prometheus"]
BEYOND = [*OUTSIDE, *OF_THE_NODE]

ALL = sorted(PORTS | {"10250"})
DNS = ["53", "53/udp", "5353", "5353/udp"]
API = ["443", "6443"]


@dataclass(frozen=True)
class Row:
    """Each of the first reaches each of the second on these ports, where there is something."""

    sources: list[str]
    targets: list[str]
    ports: list[str]


TABLE = [
    Row(OTHERS, [*OTHERS, *BEYOND], ALL),
    Row(CLUSTER, CLUSTER, ALL),
    Row(JOB, JOB, ALL),
    Row(SERVICE, SERVICE, ALL),
    Row(["operator"], HEADS, ["8265"]),
    Row(["operator"], ["service-head"], ["8000"]),
    Row(["other"], ["service-worker"], ["8000"]),
    Row(["submitter"], ["cluster-head"], ["8265"]),
    Row(["job-submitter"], ["job-head"], ["8265"]),
    Row([*RAY, *SUBMITTERS, "schedule"], ["dns-pod", "dns"], DNS),
    Row([*RAY, *SUBMITTERS, "schedule"], ["public"], ["443"]),
    Row([*CLUSTER, "submitter"], ["s3"], ["8333"]),
    # `apiServerTo` is any address but the metadata service's: a chart cannot know the server's.
    Row([*HEADS, "schedule"], [*OTHERS, "api", "public", "private", "agent"], API),
]


def freed(pod: str) -> list[Row]:
    """What no policy selects any more reaches all that lets it in; so do others it."""
    return [
        Row([pod], [*OTHERS, *BEYOND], ALL),
        Row([pod], ["service-worker"], ["8000"]),  # a client of the namespace, as any pod
        Row([pod], ["s3"], ["8333"]),  # which lets in every pod of Darkroom's
        Row(OTHERS, [pod], ALL),
        Row([*HEADS, "schedule"], [pod], API),
    ]


def head_closed(head: str, worker: str) -> list[Row]:
    """What a head loses with its cluster's first policy: the second lets it to the API server."""
    return [
        Row([worker], [head], ALL),
        Row([head], [worker], sorted({*ALL} - {*API})),
        Row([head], ["dns-pod", "dns"], DNS),
    ]


def api_closed(head: str) -> list[Row]:
    """What a head loses with its own policy; 443 of public addresses is S3's too."""
    targets = [*OTHERS, "api", "private", "agent"]
    return [Row([head], targets, API), Row([head], ["public"], ["6443"])]


@dataclass(frozen=True)
class Removal:
    """What another table has that TABLE has not, and the other way round."""

    opens: list[Row]
    closes: list[Row]


REMOVED = {
    "darkroom-ray": Removal(
        freed("cluster-worker"),
        [
            *head_closed("cluster-head", "cluster-worker"),
            Row(["cluster-head"], ["s3"], ["8333"]),
        ],
    ),
    "darkroom-head": Removal(
        [],
        [*api_closed("cluster-head"), Row(["operator", "submitter"], ["cluster-head"], ["8265"])],
    ),
    "darkroom-submitter": Removal(freed("submitter"), []),
    "darkroom-s3": Removal(freed("s3"), []),
    "job-ray": Removal(freed("job-worker"), head_closed("job-head", "job-worker")),
    "job-head": Removal(
        [], [*api_closed("job-head"), Row(["operator", "job-submitter"], ["job-head"], ["8265"])]
    ),
    "job-submitter": Removal(freed("job-submitter"), []),
    # Another policy goes on to select the workers, for who may come in.
    "draw-ray": Removal(
        [
            Row(["service-worker"], [*OTHERS, *BEYOND], ALL),
            Row(["service-worker"], ["s3"], ["8333"]),
        ],
        [
            *head_closed("service-head", "service-worker"),
            Row(["service-head"], ["service-worker"], ALL),
        ],
    ),
    "draw-head": Removal(
        [], [*api_closed("service-head"), Row(["operator"], ["service-head"], ["8265"])]
    ),
    "draw-serve": Removal([], [Row(["other"], ["service-worker"], ["8000"])]),
    "draw-serve-head": Removal([], [Row(["operator"], ["service-head"], ["8000"])]),
    "nightly-schedule": Removal(freed("schedule"), []),
}

# Values of darkroom-job, and what they open.
VALUES = {
    "networkPolicy.prometheus.enabled=true": [Row(["prometheus"], JOB, ["8080", "44217", "44227"])],
    "s3.identity.mode=podIdentity": [Row([*JOB, "job-submitter"], ["agent"], ["80"])],
}


@pytest.fixture(scope="module")
def charts(namespace: Kubectl) -> Charts:
    return Charts(namespace)


@pytest.fixture(scope="module")
def places(
    own_cluster: Kubectl, namespace: Kubectl, charts: Charts, image: str
) -> Iterator[Places]:
    """Every pod, listening, and the outside; no policy yet."""
    labels = charts.labels()
    operator = {"app.kubernetes.io/component": "kuberay-operator"}
    made = own_cluster.run("create", "namespace", "monitoring").returncode == 0
    with new_namespace(own_cluster, "e2e", "elsewhere") as elsewhere:
        system = {
            "operator": own_cluster.within("kuberay-system"),
            "dns-pod": own_cluster.within("kube-system"),
            "prometheus": own_cluster.within("monitoring"),
        }
        where = {**dict.fromkeys([*DARKROOM, "other"], namespace), "impostor": elsewhere, **system}
        labels |= {"operator": operator, "impostor": labels["submitter"]}
        for name, kubectl in where.items():
            kubectl.apply(listening_pod(name, labels.get(name, {}), image))
        try:
            for name, kubectl in where.items():
                kubectl(
                    "wait", "--for=condition=Ready", f"pod/{name}", "--timeout=180s", timeout=200
                )
            with outside():
                yield Places(where)
        finally:
            for name, kubectl in system.items():
                kubectl("delete", "pod", name, "--ignore-not-found")
            if made:
                own_cluster("delete", "namespace", "monitoring", "--wait=false")


def cells(places: Places, rows: Iterable[Row]) -> Reached:
    named = {
        cell for row in rows for cell in itertools.product(row.sources, row.targets, row.ports)
    }
    return named & places.everything()


def settles(places: Places, namespace: Kubectl, what: str, wanted: Reached) -> Reached:
    """Tries until what is reached is what is wanted; fails with the difference."""
    seen: list[Reached] = [set()]

    def as_wanted() -> bool:
        seen[0] = places.reached()
        return seen[0] == wanted

    def difference() -> str:
        open_, refused = as_text(seen[0] - wanted), as_text(wanted - seen[0])
        policies = namespace("get", "networkpolicies")
        return f"open, to be refused:\n{open_}\nrefused, to be open:\n{refused}\n{policies}"

    wait_for(what, as_wanted, seconds=SETTLE_SECONDS, explain=difference)
    return seen[0]


@pytest.fixture(scope="module")
def enforced(places: Places, namespace: Kubectl, charts: Charts) -> Places:
    """The pods under all policies; before there were any, nothing was refused."""
    settles(places, namespace, "all open without a policy", places.everything())
    namespace.apply(*charts.policies().values())
    return places


@pytest.mark.timeout(900)
def test_who_reaches_what(enforced: Places, namespace: Kubectl) -> None:
    reached = settles(enforced, namespace, "the table", cells(enforced, TABLE))
    text = as_text(reached)
    assert f"{'cluster-head':>16} -> {'api':<16} 443 6443" in text.splitlines()
    sys.stderr.write(f"\n{text}\n")
    (LOGS / "network-policy.txt").write_text(f"{text}\n")


@pytest.mark.timeout(1500)
def test_a_removed_policy_changes_what_it_stands_for_and_nothing_else(
    enforced: Places, namespace: Kubectl, charts: Charts
) -> None:
    policies = charts.policies()
    assert REMOVED.keys() == policies.keys(), "a policy of which no row says what it is for"
    table = cells(enforced, TABLE)
    for name, policy in policies.items():
        removal = REMOVED[name]
        opens, closes = cells(enforced, removal.opens), cells(enforced, removal.closes)
        namespace("delete", "networkpolicy", name)
        assert opens - table or closes & table, name
        settles(enforced, namespace, f"what is without {name}", (table - closes) | opens)
        namespace.apply(policy)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("setting", VALUES)
def test_a_value_opens_what_it_stands_for(
    setting: str, enforced: Places, namespace: Kubectl, charts: Charts
) -> None:
    try:
        namespace.apply(*charts.job_policies(setting))
        opens = cells(enforced, VALUES[setting])
        table = cells(enforced, TABLE)
        assert opens - table
        settles(enforced, namespace, f"what is with {setting}", table | opens)
    finally:
        namespace.apply(*charts.policies().values())
