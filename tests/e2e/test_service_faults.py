"""The service when its head, its operator or a pod of its own is lost while requests come.

The head keeps its state in Redis (`gcsFaultToleranceOptions`), where a test does not say otherwise.
Requests are those of `tests/helpers/service_load.py`, none tried again; where pods are killed by
force, the official client asks beside them, with its own retries and nothing else.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openai
import pytest
from testcluster import images, transfer
from testcluster.client import Kubectl, pod_spec
from testcluster.settings import HOST_LINK_ADDRESS, PROJECT
from tests.helpers.release import Release
from tests.helpers.service_release import (
    ADDRESS,
    KEY,
    Service,
    assert_nobody_failed,
    installed_service,
    is_ready,
    recorded,
)

REDIS_IMAGE = "darkroom-test-redis"
REDIS = "gcsFaultToleranceOptions.redisAddress=redis:6379"
OPENED = [
    # To Redis, and for the official client, which calls from the machine.
    "networkPolicy.extraEgress[0].to[0].podSelector.matchLabels.app=redis",
    "networkPolicy.extraEgress[0].ports[0].port=6379",
    f"networkPolicy.extraIngress[0].from[0].ipBlock.cidr={HOST_LINK_ADDRESS}/32",
    "networkPolicy.extraIngress[0].ports[0].port=8000",
]
# A worker has room for one drawing replica: two would share one that came first, for good.
APART = ["pools.cpu.cpus=1"]
OPERATOR = "deployment/kuberay-operator"
BEFORE_SECONDS = 8
"""Requests come for so long before anything is taken away: some of each kind are under way."""
LATEST_SECONDS = 5
"""Nothing fails later than this after a pod is killed by force."""
HOLDS_SECONDS = 20
"""Serve's state is to be good for so long: while no head answers, the old one stays written."""


@pytest.fixture(scope="module")
def redis(own_cluster: Kubectl, release: Release) -> Iterator[None]:
    """Debian's Redis beside the service."""
    images.build_image(REDIS_IMAGE, PROJECT / "tests" / "helpers" / "redis.Dockerfile")
    transfer.load(REDIS_IMAGE)
    kubectl = release.kubectl
    spec = pod_spec(images.tag(REDIS_IMAGE))
    metadata = {"name": "redis", "labels": {"app": "redis"}}
    port = {"port": 6379}
    kubectl.apply(
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec},
        {
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "redis"},
            "spec": {"selector": {"app": "redis"}, "ports": [port]},
        },
    )  # fmt: skip
    kubectl("wait", "--for=condition=Ready", "pod/redis", "--timeout=60s")
    yield
    kubectl("delete", "pod/redis", "service/redis", "--grace-period=1")


@pytest.fixture(scope="module")
def service(release: Release, image: str, redis: None) -> Iterator[Service]:
    """`helm uninstall` leaves nothing in Redis (docs/decisions/0020)."""
    with installed_service(release, image, REDIS, *OPENED) as found:
        yield found
    kept = release.kubectl("exec", "redis", "--", "redis-cli", "dbsize")
    assert kept.strip() == "0", f"{kept} keys are left in Redis"


def with_redis(service: Service, wanted: bool = True) -> None:
    """The service, whole, on a cluster whose head keeps its state in Redis, or does not."""

    def is_whole() -> bool:
        name = service.cluster()
        if not name or not service.is_healthy() or len(service.workers()) != 2:
            return False
        spec = service.kubectl.get("raycluster", name)["spec"]
        return ("gcsFaultToleranceOptions" in spec) == wanted

    service.upgrade(*([REDIS] if wanted else []), *OPENED, *APART)
    service.until("a whole service", is_whole, seconds=900)


def pod_of(service: Service, node_type: str) -> str:
    """A pod of the cluster that has the traffic."""
    selector = f"ray.io/cluster={service.cluster()},ray.io/node-type={node_type}"
    return str(service.kubectl.list("pods", selector)[0]["metadata"]["name"])


def until_whole(service: Service, without: str) -> None:
    """Another pod has taken the place, and every replica is there, for some time."""

    def is_whole() -> bool:
        selector = f"ray.io/cluster={service.cluster()}"
        pods = service.kubectl.list("pods", selector) if service.cluster() else []
        heads = [pod for pod in pods if pod["metadata"]["labels"]["ray.io/node-type"] == "head"]
        names = {pod["metadata"]["name"] for pod in pods}
        return sum(map(is_ready, heads)) == 1 and without not in names and service.is_healthy()

    since = 0.0

    def holds() -> bool:
        nonlocal since
        if not is_whole():
            since = 0.0
            return False
        since = since or time.monotonic()
        return time.monotonic() - since >= HOLDS_SECONDS

    service.until(f"a service without {without}", holds, seconds=900)


@contextmanager
def official_client(service: Service) -> Iterator[dict[str, Any]]:
    """The official client at work, with its own retries; how often it drew, and what it raised."""
    address = service.kubectl.get("service", ADDRESS)["spec"]["clusterIP"]
    seen: dict[str, Any] = {"drawn": 0, "longest_seconds": 0.0, "raised": []}
    stopped = threading.Event()

    def keep_asking() -> None:
        # The machine's proxies, if it has any, know no address of the cluster's.
        http = openai.DefaultHttpxClient(trust_env=False)
        base = f"http://{address}:8000/v1"
        with openai.OpenAI(base_url=base, api_key=KEY, http_client=http) as client:
            while not stopped.is_set():
                began = time.monotonic()
                try:
                    client.images.generate(prompt="7", extra_body={"steps": 20})
                    seen["drawn"] += 1
                except openai.OpenAIError as error:
                    seen["raised"].append(repr(error))
                seconds = round(time.monotonic() - began, 2)
                seen["longest_seconds"] = max(seen["longest_seconds"], seconds)
                stopped.wait(0.5)

    thread = threading.Thread(target=keep_asking)
    thread.start()
    try:
        yield seen
    finally:
        stopped.set()
        thread.join(300)


def some_requests(seconds: float = BEFORE_SECONDS) -> None:
    time.sleep(seconds)  # not a wait for something: requests of these seconds


@pytest.mark.timeout(2400)
def test_a_head_deleted_with_grace_fails_nobody(service: Service) -> None:
    with_redis(service)
    victim = pod_of(service, "head")
    with service.load() as rows:
        some_requests()
        service.kubectl("delete", "pod", victim, "--wait=false")
        until_whole(service, victim)
    assert_nobody_failed("a head deleted, Redis", rows)


@pytest.mark.timeout(2400)
def test_without_redis_a_lost_head_is_an_outage_that_ends(service: Service) -> None:
    """Its loss ends the cluster's workers with it; what that costs is written down."""
    with_redis(service, wanted=False)
    victim = pod_of(service, "head")
    with service.load() as rows:
        some_requests()
        service.kubectl("delete", "pod", victim, "--wait=false")
        until_whole(service, victim)
    failed = [row["ended"] for row in rows if not row["ok"]]
    outage = round(max(failed) - min(failed), 1) if failed else 0.0
    recorded("a head deleted, no Redis", rows, seconds_from_first_to_last_failure=outage)
    drawn = service.ask(KEY, prompt="7", steps=5)
    assert drawn["ok"], drawn


@pytest.mark.timeout(2400)
def test_without_the_operator_nobody_fails(service: Service, own_cluster: Kubectl) -> None:
    with_redis(service)
    system = own_cluster.within("kuberay-system")
    try:
        with service.load() as rows:
            system("scale", OPERATOR, "--replicas=0")
            service.until("no operator", lambda: not system.list("pods"), seconds=120)
            some_requests(60)
    finally:
        system("scale", OPERATOR, "--replicas=1")
        system("rollout", "status", OPERATOR, "--timeout=180s", timeout=200)
    assert_nobody_failed("no operator", rows)


@pytest.mark.timeout(2400)
@pytest.mark.parametrize("node_type", ["worker", "head"])
def test_a_pod_killed_by_force_fails_only_what_it_carried(service: Service, node_type: str) -> None:
    """And the official client's retries make good for that."""
    with_redis(service)
    victim = service.workers()[0] if node_type == "worker" else pod_of(service, "head")
    with service.load() as rows, official_client(service) as official:
        some_requests()
        killed = time.time()
        service.kubectl("delete", "pod", victim, "--grace-period=0", "--force")
        until_whole(service, victim)
    failed = recorded(
        f"a {node_type} killed", rows, official=official,
        failed_after_seconds=[round(row["ended"] - killed, 1) for row in rows if not row["ok"]],
    )  # fmt: skip
    late = [row for row in failed if row["ended"] > killed + LATEST_SECONDS]
    assert not late, f"{len(late)} of {len(rows)}: {late[:3]}"
    early = [row for row in failed if row["ended"] < killed]
    assert not early, f"before anything was killed: {early[:3]}"
    assert official["drawn"] > 0
    assert not official["raised"]
