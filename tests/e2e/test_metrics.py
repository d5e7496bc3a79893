"""Every metric that dashboard and alerts name is in what Prometheus would scrape."""

from __future__ import annotations

import re

import pytest
import yaml
from testcluster.client import Kubectl, wait_for
from tests.helpers.release import CHART, NAME, Release

PORTS = (8080, 44217, 44227)  # PodMonitor: metrics, as-metrics, dash-metrics
READ = (
    "import urllib.request, sys; "
    "print(urllib.request.urlopen(sys.argv[1], timeout=20).read().decode())"
)
METRIC = re.compile(r"\b(?:ray|kuberay)_\w+")
# A task to be seen: some gauges exist only once there was one.
RUN_A_TASK = (
    "import ray, time; ray.init(); "
    "ray.get(ray.remote(num_cpus=1)(lambda: time.sleep(20)).remote()); "
)


@pytest.fixture(scope="module")
def named(release: Release) -> set[str]:
    """The metrics that the rendered alerts and dashboard ask for."""
    done = release.kubectl.helm(
        "template", NAME, str(CHART), *release.values("monitoring.enabled=true")
    )
    assert done.returncode == 0, done.stderr
    objects = [item for item in yaml.safe_load_all(done.stdout) if item]
    texts = [item for item in objects if item["kind"] in {"PrometheusRule", "ConfigMap"}]
    found = set(METRIC.findall(yaml.safe_dump(texts)))
    return found - {"ray_io_cluster"}  # a label


def test_every_metric_that_is_shown_is_scraped(
    own_cluster: Kubectl, release: Release, named: set[str]
) -> None:
    assert len(named) >= 10
    release.start_job("be-seen", RUN_A_TASK)
    system = own_cluster.within("kuberay-system")
    (operator,) = system.list("pods", "app.kubernetes.io/component=kuberay-operator")
    operators = f"http://{operator['status']['podIP']}:8080/metrics"
    urls = [*(f"http://127.0.0.1:{port}/metrics" for port in PORTS), operators]

    def missing() -> set[str]:
        scraped = "".join(release.on_head("python", "-c", READ, url) for url in urls)
        names = set(re.findall(r"^(\w+)[{ ]", scraped, re.MULTILINE))
        return named - names

    wait_for(
        "every metric", lambda: not missing(), seconds=120, explain=lambda: str(sorted(missing()))
    )
