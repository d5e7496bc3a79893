"""Training as RayJobs: what it shows while it runs, and that it survives what befalls a cluster.

A disturbed run must end as an undisturbed one: the same weights, no step twice, at most one
checkpoint interval redone.
"""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import yaml
from testcluster.client import Kubectl, rayjob_succeeds
from tests.helpers.release import CHART, NAME, Release
from tests.helpers.training import weights_digest
from tests.helpers.training_job import FOLDER, STEPS, Training

from darkroom.jobs.artifacts.model import TrainedInfo
from darkroom.storage import Artifact

PORTS = (8080, 44217, 44227)  # PodMonitor: metrics, as-metrics, dash-metrics
# A worker that the autoscaler takes away meanwhile is passed over.
READ = """
import sys, urllib.request
for url in sys.argv[1:]:
    try:
        print(urllib.request.urlopen(url, timeout=20).read().decode())
    except OSError as error:
        print("#", url, error)
"""
SCRAPE_SECONDS = 4
OPERATOR = "app.kubernetes.io/component=kuberay-operator"
METRIC = re.compile(r"\b(?:ray|kuberay)_\w+")
TOLD_ONCE = {"kuberay_cluster_provisioned_duration_seconds"}
"""By the operator that was there when the cluster came; another test may have restarted it since.
tests/light/test_alerts.py asks for it."""


@pytest.fixture(scope="module", autouse=True)
def reachable_s3(release: Release) -> Iterator[None]:
    """Makes the release's bucket reachable for all of the module: its runs follow on each other."""
    with release.s3_from_here():
        yield


@dataclass(frozen=True)
class Undisturbed:
    """What a run left that nothing befell."""

    weights: str
    """Their digest."""
    metrics: set[str]
    """The names of all that Prometheus would have scraped while it ran."""


@pytest.fixture(scope="module")
def undisturbed(cluster: Kubectl, release: Release, reachable_s3: None) -> Undisturbed:
    """The run that the others are compared with; what they all train on is prepared before."""
    settings = ["verb=prepare", "recipe=digits_smoke", f"output={FOLDER}/data"]
    release.kubectl.apply_text(release.rayjob("prepare", *settings))
    rayjob_succeeds(release.kubectl, "prepare", seconds=300)
    system = cluster.within("kuberay-system")
    operators = [pod["metadata"]["name"] for pod in system.list("pods", OPERATOR)]
    seen: set[str] = set()

    def scrape() -> None:
        places = [("127.0.0.1", port) for port in PORTS]
        places += [(pod["status"]["podIP"], 8080) for pod in release.pods("worker")]
        seen.update(_scraped(release, places))
        for pod in operators:  # no policy lets the head there: by the API server
            path = f"/api/v1/namespaces/{system.namespace}/pods/{pod}:8080/proxy/metrics"
            seen.update(_names(system("get", f"--raw={path}")))
        time.sleep(SCRAPE_SECONDS)

    model = Training(release, "undisturbed").end(meanwhile=scrape)
    return Undisturbed(weights_digest(model), seen)


@pytest.fixture(scope="module")
def named(release: Release) -> set[str]:
    """The metrics that the rendered alerts and dashboard ask for."""
    rendered = release.kubectl.template(NAME, CHART, *release.values("monitoring.enabled=true"))
    objects = [item for item in yaml.safe_load_all(rendered) if item]
    texts = [item for item in objects if item["kind"] in {"PrometheusRule", "ConfigMap"}]
    found = set(METRIC.findall(yaml.safe_dump(texts)))
    return found - {"ray_io_cluster"}  # a label


def test_every_metric_that_is_shown_is_scraped(
    own_cluster: Kubectl, named: set[str], undisturbed: Undisturbed
) -> None:
    """Every metric that dashboard and alerts name is in what Prometheus would scrape."""
    assert len(named) >= 10
    assert sorted(named - undisturbed.metrics - TOLD_ONCE) == []


def _scraped(release: Release, places: list[tuple[str, int]]) -> set[str]:
    """Names of the metrics that these endpoints show now."""
    urls = [f"http://{address}:{port}/metrics" for address, port in places]
    return _names(release.on_head("python", "-c", READ, *urls))


def _names(text: str) -> set[str]:
    return set(re.findall(r"^(\w+)[{ ]", text, re.MULTILINE))


def _assert_as_if_nothing_had_happened(model: Artifact, undisturbed: Undisturbed) -> None:
    assert weights_digest(model) == undisturbed.weights
    steps = model.read_table("metrics.parquet").to_pydict()["step"]
    assert steps == list(range(0, STEPS + 1, 10)), "a step is missing, or was kept twice"
    attempts = {item.key.split("/")[1] for item in model.store.list("attempts/")}
    assert len(attempts) == 1, "published more than once"


def _delete_pod(kubectl: Kubectl, pod: str) -> None:
    kubectl("delete", "pod", pod, "--grace-period=0", "--force", timeout=60)


def _evict(kubectl: Kubectl, pod: str) -> None:
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
    path = f"/api/v1/namespaces/{kubectl.namespace}/pods/{pod}/eviction"
    kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))


@pytest.mark.parametrize("node_type", ["head", "worker"])
def test_a_lost_pod(node_type: str, release: Release, undisturbed: Undisturbed) -> None:
    run = Training(release, f"lost-{node_type}")
    run.wait_for_checkpoint()
    for pod in release.pods(node_type):
        _delete_pod(release.kubectl, pod["metadata"]["name"])
    saved = run.step()
    model = run.end()
    _assert_as_if_nothing_had_happened(model, undisturbed)
    # What it redid is what came after the newest checkpoint: less than one interval.
    resumed = [int(step) for step in re.findall(r"resuming from step (\d+)", run.log())]
    assert resumed
    assert resumed[-1] >= saved


def test_an_evicted_worker_loses_at_most_a_step(release: Release, undisturbed: Undisturbed) -> None:
    """As `kubectl drain` evicts it: its preStop has Ray drain the node, and the run saves.

    It trains for longer than the others: Ray Train starts it anew at the end of the drain.
    """
    run = Training(release, "evicted", steps=5 * STEPS)
    run.wait_for_checkpoint()
    for pod in release.pods("worker"):
        _evict(release.kubectl, pod["metadata"]["name"])
    model = run.end()
    account = TrainedInfo.found(model).account
    assert account is not None
    assert account.num_attempts >= 2, "nothing was disturbed"
    sys.stderr.write(f"evicted: steps done again {account.steps_redone}\n")
    assert account.steps_redone <= 1
    steps = model.read_table("metrics.parquet").to_pydict()["step"]
    assert steps == list(range(0, 5 * STEPS + 1, 10)), "a step is missing, or was kept twice"


def test_a_lost_operator(own_cluster: Kubectl, release: Release, undisturbed: Undisturbed) -> None:
    run = Training(release, "lost-operator")
    run.wait_for_checkpoint()
    system = own_cluster.within("kuberay-system")
    for pod in system.list("pods"):
        _delete_pod(system, pod["metadata"]["name"])
    _assert_as_if_nothing_had_happened(run.end(), undisturbed)
    assert "resuming from step" not in run.log(), "the run itself was disturbed"


def test_s3_out_of_reach_for_a_minute(
    release: Release, undisturbed: Undisturbed, cut_s3: Callable[[float], None]
) -> None:
    run = Training(release, "lost-s3")
    run.wait_for_checkpoint()
    cut_s3(60)
    _assert_as_if_nothing_had_happened(run.end(), undisturbed)


@pytest.fixture
def cut_s3(release: Release) -> Iterator[Callable[[float], None]]:
    """Takes the S3 service's pods away from it; its address then refuses connections."""
    service = f"{NAME}-s3"
    selector = release.kubectl.get("service", service)["spec"]["selector"]

    def set_selector(pairs: dict[str, str]) -> None:
        patch = [{"op": "replace", "path": "/spec/selector", "value": pairs}]
        release.kubectl("patch", "service", service, "--type=json", f"--patch={json.dumps(patch)}")

    def cut(seconds: float) -> None:
        set_selector({"no": "pod"})
        threading.Event().wait(seconds)
        set_selector(selector)

    yield cut
    set_selector(selector)
