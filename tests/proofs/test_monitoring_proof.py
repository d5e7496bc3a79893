"""Proof: what the charts' monitors, dashboard and alerts make of real metrics, by Prometheus.

Training, classification and a service run on Rays of two nodes. What stands in for what: a node on
this machine for each pod (`tests/helpers/ray_pods.py`), a file with a pod's discovered labels for
Kubernetes' discovery, and settings written as the Prometheus operator writes them
(`tests/helpers/prometheus.py`). Monitors, rules and dashboard are the charts'; in the rules a
minute is a second, and thresholds are set by the charts' own values. What the KubeRay operator
exports is in `tests/light/test_alerts.py`. `build/proofs/monitoring.json` has what was seen.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
from tests.helpers.classify_runs import small_settings, upload_pictures
from tests.helpers.manifests import one
from tests.helpers.prometheus import Object, Prometheus, in_seconds, prometheus, scrape
from tests.helpers.proof import write_json
from tests.helpers.ray_pods import RayPods, ray_as_pods, ray_cluster, rendered
from tests.helpers.serve_runs import Service, service_in
from tests.helpers.tiny_artifacts import publish_digits
from tests.helpers.training import running, started, train_config

NAMESPACE = "research"
OLD_SECONDS = 5
CHECKPOINT_STEPS = 60
MARGIN = 0.04
"""Of memory or disk: the threshold is so far above what is used, and twice that is then taken."""
NUM_PODS = 2
QUICKLY = {"podMonitor": {"interval": "1s"}}


@contextmanager
def watched(folder: Path, ray: RayPods, objects: list[Object]) -> Iterator[Prometheus]:
    """Prometheus on a release's monitor and rules, its pods all found and scraped."""
    folder.mkdir(exist_ok=True)
    found = folder / "targets.json"
    found.write_text(json.dumps(ray.targets))
    rules = [item for item in objects if item["kind"] == "PrometheusRule"]
    scrapes = scrape(one(objects, "PodMonitor"), found)
    with prometheus(folder / "prometheus", scrapes, rules) as server:

        def all_up() -> bool:
            return [each["health"] for each in server.targets()] == ["up"] * len(ray.targets)

        server.until("every port of every pod is scraped", all_up)
        pods = {each["labels"]["pod"] for each in server.targets()}
        assert pods == set(ray.pods)
        yield server


def panels(of: str, cluster: str) -> dict[str, str]:
    """Expressions of darkroom-cluster's dashboard on one kind of metrics, by title."""
    objects = rendered("darkroom-cluster", monitoring(), name="darkroom", namespace=NAMESPACE)
    found = all_panels(objects, cluster)
    return {title: text for title, text in found.items() if kind_of(text) == of}


def all_panels(objects: list[Object], cluster: str) -> dict[str, str]:
    """Expressions of the dashboard that a chart installs, its variables set, by title."""
    (text,) = one(objects, "ConfigMap")["data"].values()
    return {
        f"{panel['title']} {target['refId']}": in_seconds(target["expr"])
        .replace("$namespace", NAMESPACE)
        .replace("$cluster", cluster)
        for panel in json.loads(text)["panels"]
        for target in panel["targets"]
    }


def kind_of(expression: str) -> str:
    return next(kind for kind in ("ray_darkroom_train_", "kuberay_", "ray_") if kind in expression)


def monitoring(**rules: Any) -> Object:
    return {"monitoring": {"enabled": True, **QUICKLY, "rules": rules}}


def fill(server: Prometheus, expressions: dict[str, str], seconds: float = 240) -> Object:
    """Wait until each has had numbers, of each pod where it is by pod; its lines, by title."""
    lines: dict[str, int] = {}

    def all_filled() -> bool:
        for title, text in expressions.items():
            values = [value for _, value in server.query(text)]
            enough = len(values) >= (NUM_PODS if "per pod" in title else 1)
            if title not in lines and enough and all(map(math.isfinite, values)):
                lines[title] = len(values)
        return lines.keys() == expressions.keys()

    def missing() -> list[str]:
        return sorted(expressions.keys() - lines.keys())

    try:
        server.until("a number on every panel", all_filled, seconds)
    except pytest.fail.Exception as failed:
        pytest.fail(f"no number yet on {missing()}: {failed}")
    return dict(lines)


SEEN: Object = {}


def record(**figures: Any) -> None:
    SEEN.update(figures)
    write_json("monitoring", SEEN)


@pytest.fixture(scope="module")
def darkroom() -> Iterator[RayPods]:
    """The cluster of darkroom-cluster."""
    objects = rendered("darkroom-cluster", monitoring(), name="darkroom", namespace=NAMESPACE)
    with ray_as_pods(one(objects, "RayCluster")) as ray:
        yield ray


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    place = str(tmp_path_factory.mktemp("data"))
    publish_digits(place)
    return place


def on(ray: RayPods) -> dict[str, str]:
    return {"RAY_ADDRESS": ray.address}


@pytest.mark.timeout(1200)
def test_a_training_fills_its_panels_and_its_old_checkpoint_is_told(
    darkroom: RayPods, data: str, tmp_path: Path
) -> None:
    values = monitoring(checkpointOlderThan=OLD_SECONDS)
    objects = rendered("darkroom-cluster", values, name="darkroom", namespace=NAMESPACE)
    config = train_config(
        data, str(tmp_path / "model"), max_steps=100_000, batch_size=128, log_every_steps=2,
        workers={"num_workers": 2}, validation={"every_steps": 20},
        checkpoint={"every_steps": CHECKPOINT_STEPS},
    )  # fmt: skip
    newest = f'ray_darkroom_train_checkpoint_step{{namespace="{NAMESPACE}"}}'
    with (
        watched(tmp_path, darkroom, objects) as server,
        started(config, tmp_path / "run", on(darkroom)) as run,
    ):
        told = server.until_firing(
            "DarkroomCheckpointOld", 240, namespace=NAMESPACE, ray_io_cluster="darkroom"
        )
        assert config.output in told
        assert not server.query(f"{newest} > 0"), "there is a checkpoint"
        server.until("a checkpoint", lambda: server.query(f"{newest} > 0"), 240)
        server.until_clear("DarkroomCheckpointOld", OLD_SECONDS)
        assert run.process.poll() is None, run.log.read_text()
        lines = fill(server, panels("ray_darkroom_train_", "darkroom"))
        lines |= fill(server, panels("ray_", "darkroom"))
        run.process.terminate()
        assert run.wait() == 143, run.log.read_text()
        gone(server)
    record(training=lines, checkpoint_old=told)


@pytest.mark.timeout(900)
def test_a_loss_that_becomes_nan_ends_the_job_and_leaves_no_metric(
    darkroom: RayPods, data: str, tmp_path: Path
) -> None:
    """So the alert is DarkroomJobFailed, by the operator: no number of such a run is exported."""
    objects = rendered("darkroom-cluster", monitoring(), name="darkroom", namespace=NAMESPACE)
    config = train_config(
        data, str(tmp_path / "model"), max_steps=100_000, workers={"num_workers": 1},
        optimizer={"learning_rate": 1e30, "max_grad_norm": None},
        lr_schedule={"kind": "constant", "warmup_steps": 0},
    )  # fmt: skip
    with (
        watched(tmp_path, darkroom, objects) as server,
        started(config, tmp_path / "run", on(darkroom)) as run,
    ):
        assert run.wait() == 1, run.log.read_text()
        assert "became NaN or infinite" in run.log.read_text()
        gone(server)
        nan = "count(ray_darkroom_train_loss != ray_darkroom_train_loss)"
        assert not server.query(f"max_over_time(({nan})[10m:1s])")


def gone(server: Prometheus) -> None:
    """A run that has ended shows nothing more, so nothing of it goes on to fire."""
    query = 'count({__name__=~"ray_darkroom_train_.*"})'
    server.until("an ended run is gone", lambda: not server.query(query))
    assert not server.firing("DarkroomCheckpointOld")


@pytest.mark.timeout(600)
def test_full_memory_and_a_full_disk_are_told_until_there_is_room(
    darkroom: RayPods, tmp_path: Path
) -> None:
    def with_threshold(above: float) -> list[Object]:
        values = monitoring(fullAbove=round(above, 3))
        return rendered("darkroom-cluster", values, name="darkroom", namespace=NAMESPACE)

    shown = panels("ray_", "darkroom")
    for alert, panel, take in (
        ("DarkroomNodeMemoryFull", "Memory use per pod A", taken_memory),
        ("DarkroomNodeDiskFull", "Disk use per pod A", taken_disk),
    ):
        before, after = tmp_path / f"{alert}-before", tmp_path / alert
        with watched(before, darkroom, with_threshold(1)) as server:
            used = max(
                value for _, value in server.until(panel, partial(server.query, shown[panel]))
            )
        with watched(after, darkroom, with_threshold(used + MARGIN)) as server:
            assert not server.firing(alert)
            with take():
                told = server.until_firing(alert, namespace=NAMESPACE)
            assert any(pod in told for pod in darkroom.pods), told
            server.until_clear(alert)
        record(**{alert: told})


@contextmanager
def taken_memory() -> Iterator[None]:
    held = bytearray(int(psutil.virtual_memory().total * MARGIN * 2))
    held[::4096] = b"x" * len(held[::4096])
    yield
    del held


@contextmanager
def taken_disk() -> Iterator[None]:
    with tempfile.TemporaryFile() as file:
        os.posix_fallocate(file.fileno(), 0, int(psutil.disk_usage("/").total * MARGIN * 2))
        yield


@pytest.mark.timeout(900)
def test_a_batch_on_a_cluster_of_its_own_fills_the_panels_of_ray(
    bucket_uri: str, tmp_path: Path
) -> None:
    values = {
        "verb": "classify", "recipe": "imagenette_cpu", "input": f"{bucket_uri}/in",
        "output": f"{bucket_uri}/out", **monitoring(),
    }  # fmt: skip
    del values["monitoring"]["rules"]  # they are the cluster's
    objects = rendered("darkroom-job", values, name="classify", namespace=NAMESPACE)
    spec = one(objects, "RayJob")["spec"]["rayClusterSpec"]
    settings = small_settings(upload_pictures(f"{bucket_uri}/in"), f"{bucket_uri}/out")
    with (
        ray_as_pods(ray_cluster("classify-8x2lq", NAMESPACE, spec)) as ray,
        watched(tmp_path, ray, objects) as server,
        running("classify", settings, tmp_path / "run", on(ray)) as run,
    ):
        lines = fill(server, panels("ray_", "classify-8x2lq"))
        assert run.wait() == 0, run.log.read_text()
    record(batch=lines)


@pytest.fixture
def service(draw: RayPods, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setenv("RAY_ADDRESS", draw.address)
    check = "tests.helpers.safety:fails_for_class_1"
    with service_in(tmp_path / "served", safety_check=check) as service:
        service.start()
        yield service


OUT_OF_MEMORY = "Pictures per second D"
"""Of the service's panels: no CPU runs out of a device's memory, so nothing is counted."""
SERVICE_RULES = {"errorsAbove": 0.05, "queueAbove": 2, "slowAbove": 0.5}


@pytest.fixture
def served() -> list[Object]:
    values = {"models": ["s3://bucket/model"], "keys": {"secretName": "keys"}}
    values |= monitoring(**SERVICE_RULES)
    return rendered("darkroom-service", values, name="draw", namespace=NAMESPACE)


@pytest.fixture
def draw(served: list[Object]) -> Iterator[RayPods]:
    spec = one(served, "RayService")["spec"]["rayClusterConfig"]
    with ray_as_pods(ray_cluster("draw-7k2mp", NAMESPACE, spec)) as ray:
        yield ray


@pytest.mark.timeout(900)
def test_a_service_that_fails_is_slow_or_has_a_queue_is_told_until_it_is_not(
    served: list[Object], draw: RayPods, service: Service, tmp_path: Path
) -> None:
    told = {}
    with watched(tmp_path, draw, served) as server:
        assert service.post({"steps": 2}).status_code == 200
        with asked(service, {"prompt": "1", "steps": 2}) as statuses:  # whose check raises
            told["errors"] = server.until_firing("DarkroomServiceErrors")
        assert set(statuses) == {500}
        with asked(service, {"steps": 2}) as statuses:
            server.until_clear("DarkroomServiceErrors")
            assert server.query("sum(rate(ray_serve_num_http_requests_total[5s])) > 0")
        assert set(statuses) == {200}
        assert not server.firing("DarkroomServiceQueue")
        with asked(service, {"steps": 100, "n": 2, "exact": True, "sampler": "ddpm"}, threads=5):
            told["queue"] = server.until_firing("DarkroomServiceQueue")
            told["slow"] = server.until_firing("DarkroomServiceSlow")
            shown = all_panels(served, "draw-7k2mp")
            never = shown.pop(OUT_OF_MEMORY)
            with clients_who_leave(service):
                lines = fill(server, shown)
            assert not server.query(never), "a line of what has not happened"
        server.until_clear("DarkroomServiceQueue")
        server.until_clear("DarkroomServiceSlow")
        lines |= fill(server, panels("ray_", "draw-7k2mp"))
    record(service=lines, service_alerts=told)


@contextmanager
def clients_who_leave(service: Service) -> Iterator[None]:
    """One after the other asks, and hangs up before there is an answer."""
    stopped = threading.Event()

    def keep_leaving() -> None:
        while not stopped.is_set():
            with contextlib.suppress(httpx2.ReadTimeout):
                service.post({"steps": 100, "n": 10, "exact": True}, timeout=1.0)

    leaving = threading.Thread(target=keep_leaving)
    leaving.start()
    try:
        yield
    finally:
        stopped.set()
        leaving.join()


@contextmanager
def asked(service: Service, body: Object, threads: int = 2) -> Iterator[list[int]]:
    """Requests all the while, one after the other in each thread; their status codes."""
    stopped = threading.Event()
    statuses: list[int] = []

    def keep_asking() -> None:
        while not stopped.is_set():
            statuses.append(service.post(body).status_code)

    working = [threading.Thread(target=keep_asking) for _ in range(threads)]
    for thread in working:
        thread.start()
    try:
        yield statuses
    finally:
        stopped.set()
        for thread in working:
            thread.join()
