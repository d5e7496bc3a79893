"""Every metric that dashboard and alerts name is in what Prometheus would scrape."""

from __future__ import annotations

import re

import pytest
import yaml
from testcluster.client import Kubectl, rayjob_end, wait_for
from tests.helpers.release import BUCKET, CHART, NAME, Release

PORTS = (8080, 44217, 44227)  # PodMonitor: metrics, as-metrics, dash-metrics
READ = (
    "import urllib.request, sys; "
    "[print(urllib.request.urlopen(url, timeout=20).read().decode()) for url in sys.argv[1:]]"
)
METRIC = re.compile(r"\b(?:ray|kuberay)_\w+")


@pytest.fixture(scope="module")
def named(release: Release) -> set[str]:
    """The metrics that the rendered alerts and dashboard ask for."""
    rendered = release.kubectl.template(NAME, CHART, *release.values("monitoring.enabled=true"))
    objects = [item for item in yaml.safe_load_all(rendered) if item]
    texts = [item for item in objects if item["kind"] in {"PrometheusRule", "ConfigMap"}]
    found = set(METRIC.findall(yaml.safe_dump(texts)))
    return found - {"ray_io_cluster"}  # a label


def test_every_metric_that_is_shown_is_scraped(
    own_cluster: Kubectl, release: Release, named: set[str]
) -> None:
    assert len(named) >= 10
    # Some metrics exist only once a RayJob has run, and tasks in it.
    uri = f"s3://{BUCKET}/be-seen"
    manifests = release.rayjob("be-seen", "verb=prepare", "recipe=digits_smoke", f"output={uri}")
    release.kubectl.apply_text(manifests)
    status = rayjob_end(release.kubectl, "be-seen", seconds=300)
    assert status["jobStatus"] == "SUCCEEDED", f"{status}\n{release.kubectl.explain()}"
    system = own_cluster.within("kuberay-system")
    (operator,) = system.list("pods", "app.kubernetes.io/component=kuberay-operator")
    workers = [pod["status"]["podIP"] for pod in release.pods("worker")]
    places = [("127.0.0.1", port) for port in PORTS]
    places += [(address, 8080) for address in (*workers, operator["status"]["podIP"])]

    def missing() -> set[str]:
        urls = [f"http://{address}:{port}/metrics" for address, port in places]
        scraped = release.on_head("python", "-c", READ, *urls)
        names = set(re.findall(r"^(\w+)[{ ]", scraped, re.MULTILINE))
        return named - names

    wait_for(
        "every metric", lambda: not missing(), seconds=120, explain=lambda: str(sorted(missing()))
    )
