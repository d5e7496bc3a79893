"""Every metric that dashboard and alerts name is in what Prometheus would scrape."""

from __future__ import annotations

import re

import pytest
import yaml
from testcluster.client import Kubectl, rayjob_end, wait_for
from tests.helpers.release import BUCKET, CHART, NAME, Release

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
# Big batches: training lasts for several scrapes.
SLOWLY = (
    "args={--set,batch_size=512,--set,max_steps=100,--set,compute.num_threads=1,"
    "--set,validation.every_steps=20}"
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
    # Some exist only once a RayJob has run, others only while one trains.
    data, model = f"s3://{BUCKET}/be-seen", f"s3://{BUCKET}/be-seen-model"
    prepare = ["verb=prepare", "recipe=digits_smoke", f"output={data}"]
    release.kubectl.apply_text(release.rayjob("be-seen", *prepare))
    _assert_succeeded(release, "be-seen")
    # The operator tells how long a cluster took to come only of those that came in its own life.
    own = ["verb=prepare", "recipe=digits_smoke", f"output={data}-too", "cleanup.ttlSeconds=600"]
    release.kubectl.apply_text(release.rayjob("be-provisioned", *own, own_cluster=True))
    train = ["verb=train", "recipe=digits_smoke", f"input={data}", f"output={model}", SLOWLY]
    release.kubectl.apply_text(release.rayjob("be-trained", *train))
    system = own_cluster.within("kuberay-system")
    (operator,) = system.list("pods", "app.kubernetes.io/component=kuberay-operator")
    seen: set[str] = set()

    def missing() -> set[str]:
        workers = [pod["status"]["podIP"] for pod in release.pods("worker")]
        places = [("127.0.0.1", port) for port in PORTS]
        places += [(address, 8080) for address in (*workers, operator["status"]["podIP"])]
        seen.update(_scraped(release, places))
        return named - seen

    wait_for(
        "every metric", lambda: not missing(), seconds=240, explain=lambda: str(sorted(missing()))
    )
    _assert_succeeded(release, "be-trained")
    release.kubectl("delete", "rayjob", "be-provisioned", timeout=120)


def _scraped(release: Release, places: list[tuple[str, int]]) -> set[str]:
    """Names of the metrics that these endpoints show now."""
    urls = [f"http://{address}:{port}/metrics" for address, port in places]
    text = release.on_head("python", "-c", READ, *urls)
    return set(re.findall(r"^(\w+)[{ ]", text, re.MULTILINE))


def _assert_succeeded(release: Release, job: str) -> None:
    status = rayjob_end(release.kubectl, job, seconds=300)
    assert status["jobStatus"] == "SUCCEEDED", f"{status}\n{release.kubectl.explain()}"
