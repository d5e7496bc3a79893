"""Alerts and panels on what the KubeRay operator exports: the real operator, Debian's Prometheus.

The operator's own Helm chart is not here: its Service's name, label and port stand in the target
that Prometheus finds; the ServiceMonitor is the project's. A minute of a rule is a second
(`tests/helpers/prometheus.py`). No pod runs here: a job's deadline fails it, and where pods become
ready, or a service does, the test writes the state that a kubelet or the operator would.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from testcluster.client import Kubectl, wait_for
from testcluster.settings import PROJECT
from tests.helpers.prometheus import Object, Prometheus, Samples, prometheus, scrape
from tests.helpers.release import CHART, NAME, Release
from tests.helpers.services import SERVICE_CHART, service_manifest, write_service_status

SECONDS = 120
MONITOR = PROJECT / "manifests" / "infrastructure" / "configs" / "kuberay-servicemonitor.yaml"
PATIENCE = "monitoring.rules.stalledAfter=5m"
SERVICE_PATIENCE = "monitoring.rules.notReadyFor=5m"


def target(port: int) -> Object:
    """The operator's metrics as discovery finds them by the Service of its Helm chart."""
    labels = {
        "namespace": "kuberay-system",
        "service_name": "kuberay-operator",
        "service_label_app_kubernetes_io_name": "kuberay-operator",
        "service_labelpresent_app_kubernetes_io_name": "true",
        "endpoint_port_name": "http",
        "pod_name": "kuberay-operator-0",
        "pod_container_name": "kuberay-operator",
    }
    found = {f"__meta_kubernetes_{name}": value for name, value in labels.items()}
    return {"targets": [f"127.0.0.1:{port}"], "labels": found}


def objects_of(namespace: Kubectl, name: str, chart: Path, *settings: str) -> list[Object]:
    flags = [f"--values={chart}/ci/kind.yaml", "--set=monitoring.enabled=true"]
    flags += [f"--set={each}" for each in settings]
    return [o for o in yaml.safe_load_all(namespace.template(name, chart, *flags)) if o]


@pytest.fixture(scope="module")
def release(namespace: Kubectl) -> Iterator[Release]:
    """The chart's cluster; its head waits for a node that never comes."""
    installed = Release(namespace)
    installed.upgrade()
    yield installed
    namespace("delete", "rayjobs", "--all", timeout=180)
    installed.uninstall()


@pytest.fixture(scope="module")
def server(
    release: Release, operator_metrics: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """Prometheus on the operator, with the rules of a cluster and of a service."""
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "targets.json").write_text(json.dumps([target(operator_metrics)]))
    monitor = yaml.safe_load(MONITOR.read_text())
    everything = objects_of(release.kubectl, NAME, CHART, PATIENCE)
    everything += objects_of(release.kubectl, "draw", SERVICE_CHART, SERVICE_PATIENCE)
    rules = [item for item in everything if item["kind"] == "PrometheusRule"]
    scrapes = scrape(monitor, folder / "targets.json")
    with prometheus(folder / "server", scrapes, rules) as running:
        yield running


def job(release: Release, name: str, *settings: str) -> None:
    """A job on a cluster of its own, whose pods wait for ever."""
    output = [f"output=s3://darkroom/{name}", "verb=prepare", "recipe=digits_smoke"]
    release.kubectl.apply_text(release.rayjob(name, *output, *settings, own_cluster=True))


def test_a_failed_job_is_told_until_it_is_deleted(server: Prometheus, release: Release) -> None:
    namespace = release.kubectl
    job(release, "late", "deadlines.preRunningSeconds=1")
    late = {"namespace": namespace.namespace, "name": "late"}
    told = server.until_firing("DarkroomJobFailed", SECONDS, **late)
    assert told == "RayJob late failed."
    took = until_told(server, "kuberay_job_execution_duration_seconds", late)
    assert [labels["job_deployment_status"] for labels, _ in took] == ["Failed"]
    namespace("delete", "rayjob", "late")
    server.until_clear("DarkroomJobFailed", SECONDS, **late)


def test_a_job_that_waits_for_its_pods_is_told_until_it_does_not(
    server: Prometheus, release: Release
) -> None:
    job(release, "waiting")
    waiting = {"namespace": release.kubectl.namespace, "name": "waiting"}
    told = server.until_firing("DarkroomJobStalled", SECONDS, **waiting)
    assert told == "RayJob waiting has been waiting for its pods for 5m."
    release.kubectl(
        "patch", "rayjob", "waiting", "--type=merge", '--patch={"spec":{"suspend":true}}'
    )
    server.until_clear("DarkroomJobStalled", SECONDS, **waiting)


def test_a_cluster_without_its_pods_is_told_until_it_has_them(
    server: Prometheus, release: Release
) -> None:
    # A new cluster: once the operator has seen all pods of one, it never says otherwise again.
    release.uninstall()
    release.upgrade()
    cluster = {"namespace": release.kubectl.namespace, "name": NAME}
    server.until_firing("DarkroomClusterNotProvisioned", SECONDS, **cluster)
    run_head(release)
    server.until_clear("DarkroomClusterNotProvisioned", SECONDS, **cluster)
    (_, seconds), *_ = until_told(server, "kuberay_cluster_provisioned_duration_seconds", cluster)
    assert seconds > 0


def until_told(server: Prometheus, metric: str, labels: dict[str, str]) -> Samples:
    """Its samples with these labels; the operator may write them after the state they are of."""
    chosen = ", ".join(f'{name}="{value}"' for name, value in labels.items())
    expression = f"{metric}{{{chosen}}}"
    found: Samples = server.until(expression, partial(server.query, expression), SECONDS)
    return found


def run_head(release: Release) -> None:
    """As a kubelet writes it of the release's head once every container runs and is ready."""
    (pod,) = wait_for(
        "a head",
        lambda: release.pods_asked_for("head"),
        seconds=SECONDS,
        explain=release.kubectl.explain,
    )
    conditions = [{"type": kind, "status": "True"} for kind in ("Ready", "ContainersReady")]
    status: dict[str, Any] = {"phase": "Running", "conditions": conditions, "podIP": "10.0.0.9"}
    status["podIPs"] = [{"ip": "10.0.0.9"}]
    status["containerStatuses"] = [
        {
            "name": container["name"], "ready": True, "restartCount": 0, "image": "", "imageID": "",
            "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
        }
        for container in pod["spec"]["containers"]
    ]  # fmt: skip
    release.kubectl.write_status("pod", pod["metadata"]["name"], status)


def test_a_service_that_is_not_ready_is_told_until_it_is(
    server: Prometheus, namespace: Kubectl
) -> None:
    namespace.apply_text(service_manifest(namespace, "draw", managed=True))
    draw = {"namespace": namespace.namespace, "name": "draw"}
    told = server.until_firing("DarkroomServiceNotReady", SECONDS, **draw)
    assert told == "RayService draw has had no ready replica for 5m."
    write_service_status(namespace, "draw", "True", "NonZeroServeEndpoints", numServeEndpoints=2)
    server.until_clear("DarkroomServiceNotReady", SECONDS, **draw)
    namespace("delete", "rayservice", "draw")


def test_every_panel_of_the_operators_metrics_has_numbers(
    server: Prometheus, release: Release
) -> None:
    """Beside one cluster that has its pods, one job that failed, and one that waits."""
    namespace = release.kubectl.namespace
    job(release, "failed", "deadlines.preRunningSeconds=1")
    job(release, "pending")
    run_head(release)
    (config,) = (
        item
        for item in objects_of(release.kubectl, NAME, CHART)
        if item["metadata"]["name"] == f"{NAME}-dashboard"
    )
    dashboard = json.loads(config["data"]["darkroom.json"])
    expressions = [
        target["expr"].replace("$namespace", namespace)
        for panel in dashboard["panels"]
        for target in panel["targets"]
        if "kuberay_" in target["expr"]
    ]
    assert len(expressions) == 4
    for expression in expressions:
        values = server.until(expression, partial(server.query, expression), SECONDS)
        assert all(math.isfinite(value) for _, value in values), expression
    # What the dashboard offers to choose from.
    chosen = {labels["namespace"] for labels, _ in server.query("kuberay_cluster_info")}
    assert namespace in chosen
