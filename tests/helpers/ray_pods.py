"""A Ray whose nodes are on this machine, each as a pod would show its metrics, for Prometheus.

What a pod is called and labelled, and how its ports are named, is what KubeRay's own reconciler
makes of the rendered RayCluster; the processes are `ray start`, which is what the pods run.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.helpers.processes import free_port, kill_all
from tests.helpers.prometheus import Object, pod_targets

HACK = Path(__file__).parents[2] / "hack"
START_SECONDS = 120
STOP_SECONDS = 60


@dataclass(frozen=True)
class RayPods:
    """A running Ray."""

    address: str
    """For RAY_ADDRESS."""
    pods: Sequence[str]
    targets: Sequence[Object]
    """What Kubernetes' discovery would find of the pods."""


def rendered(chart: str, values: Object, *, name: str, namespace: str) -> list[Object]:
    """The objects of a chart. Skips the test where helm is not built."""
    return list(_tools().render(chart, values, release=name, namespace=namespace))


def ray_cluster(name: str, namespace: str, spec: Object) -> Object:
    """As the operator makes it of a RayJob's or a RayService's."""
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": metadata, "spec": spec}


@contextmanager
def ray_as_pods(cluster: Object, *, num_cpus: int = 6) -> Iterator[RayPods]:
    """A head without CPUs and a worker with all of them, as the charts have it.

    Their metrics are renewed each half second instead of each ten: minutes are seconds here.
    """
    for group in cluster["spec"]["workerGroupSpecs"]:
        group |= {"replicas": 1, "minReplicas": 1}
    made = _tools().answer("kuberay-reconcile", before=cluster, after=cluster)
    kinds = {pod["metadata"]["labels"]["ray.io/node-type"]: pod for pod in made["pods"]}
    head_ports = {name: free_port() for name in ("metrics", "as-metrics", "dash-metrics")}
    worker_ports = {"metrics": free_port()}
    address = f"127.0.0.1:{free_port()}"
    # Short: Ray's sockets are below it, and their names have a limit.
    folder = Path(tempfile.mkdtemp(prefix="dr-"))
    environment = {
        **os.environ,
        "AUTOSCALER_METRIC_PORT": str(head_ports["as-metrics"]),
        "DASHBOARD_METRIC_PORT": str(head_ports["dash-metrics"]),
        "RAY_metrics_report_interval_ms": "500",
        "REPORTER_UPDATE_INTERVAL_MS": "500",  # of CPU, memory and disk; five seconds by default
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    }
    head = [
        "--head", f"--port={address.rpartition(':')[2]}", "--num-cpus=0",
        f"--temp-dir={folder}", "--include-dashboard=true", f"--dashboard-port={free_port()}",
        f"--ray-client-server-port={free_port()}", "--disable-usage-stats",
        f"--metrics-export-port={head_ports['metrics']}",
    ]  # fmt: skip
    worker = [
        f"--address={address}", f"--num-cpus={num_cpus}",
        f"--metrics-export-port={worker_ports['metrics']}",
    ]  # fmt: skip
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        for name, arguments in (("head", head), ("worker", worker)):
            stack.enter_context(_node(arguments, environment, folder / f"{name}.log"))
        metadata = {"namespace": cluster["metadata"]["namespace"]}
        found = []
        for kind, ports in (("head", head_ports), ("worker", worker_ports)):
            pod = kinds[kind]
            pod["metadata"] |= metadata
            found += pod_targets(pod, ports)
        yield RayPods(address, [pod["metadata"]["name"] for pod in kinds.values()], found)


@contextmanager
def _node(arguments: list[str], environment: dict[str, str], log: Path) -> Iterator[None]:
    ports = [f"--dashboard-agent-listen-port={free_port()}"]
    ports += [f"--dashboard-agent-grpc-port={free_port()}"]
    ports += [f"--runtime-env-agent-port={free_port()}", "--object-store-memory=200000000"]
    ray = str(Path(sys.executable).with_name("ray"))
    command = [ray, "start", "--block", "--node-ip-address=127.0.0.1", *arguments, *ports]
    with log.open("a") as sink:
        process = subprocess.Popen(command, env=environment, stdout=sink, stderr=sink)
    try:
        end = time.monotonic() + START_SECONDS
        while "Ray runtime started" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.2)
        yield
    finally:
        parts = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        kill_all(parts, seconds=STOP_SECONDS)


def _tools() -> Any:
    """hack/charts/tools.py. Skips the test where what it runs is not built."""
    sys.path[:0] = [path for path in (str(HACK), str(HACK / "charts")) if path not in sys.path]
    import tools
    from schemas import MissingToolError

    try:
        for name in ("helm", "kuberay-reconcile"):
            tools.tool(name)
    except MissingToolError as missing:
        pytest.skip(str(missing))
    return tools
