"""A pool of GPUs scales from zero onto the nodes meant for it, and back; GPUs need not be real."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from testcluster.client import Kubectl, wait_for
from testcluster.settings import LOGS
from tests.helpers.release import HEAD_ADDRESS, NAME, Release, submit_in_time
from tests.helpers.tiny_artifacts import publish_digits

GPUS = {"nvidia.com/gpu": "8"}
TAINT = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
POOL_LABEL = "accelerator"
AUTOSCALER_ROUNDS_SECONDS = 15
"""Of several rounds; each takes five."""
DECOY = "decoy"
USE_ONE_GPU = (
    "import ray; ray.init(); "
    "seen = lambda: ray.get_runtime_context().get_accelerator_ids(); "
    "use = ray.remote(num_gpus=1, num_cpus=0)(seen); "
    "print('accelerators', ray.get(use.remote()))"
)

BURST = (
    "import ray, time; ray.init(); "
    "work = ray.remote(num_cpus=1)(lambda: time.sleep(5)); "
    "ray.get([work.remote() for _ in range(12)]); print('burst done')"
)


@pytest.fixture
def gpu_node(own_cluster: Kubectl) -> Iterator[str]:
    """The cluster's node, labelled and tainted for GPUs; a device plugin would say so alike."""
    (node,) = (item["metadata"]["name"] for item in own_cluster.list("nodes"))
    own_cluster.write_status("node", node, {"capacity": GPUS, "allocatable": GPUS})
    own_cluster("label", "node", node, f"{POOL_LABEL}=test")
    taint = "{key}={value}:{effect}".format(**TAINT)
    own_cluster("taint", "node", node, taint)
    yield node
    own_cluster("taint", "node", node, f"{taint}-")
    own_cluster("label", "node", node, f"{POOL_LABEL}-")
    none = dict.fromkeys(GPUS)
    own_cluster.write_status("node", node, {"capacity": none, "allocatable": none})


@pytest.fixture
def decoy(own_cluster: Kubectl) -> Iterator[str]:
    """A node with more of everything, free GPUs too, that lacks only the pool's label."""
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": DECOY}}
    own_cluster.apply({**node, "spec": {"taints": [TAINT]}})
    room = {**GPUS, "cpu": "64", "memory": "256Gi", "pods": "110", "ephemeral-storage": "1Ti"}
    ready = {"type": "Ready", "status": "True", "reason": "Decoy", "message": ""}
    with _heartbeat(own_cluster, DECOY):
        status = {"capacity": room, "allocatable": room, "conditions": [ready]}
        own_cluster.write_status("node", DECOY, status)
        wait_for(
            "a decoy that takes pods",
            lambda: _taints(own_cluster) == {TAINT["key"]},
            seconds=60,
            explain=own_cluster.explain,
        )
        yield DECOY
    own_cluster("delete", "node", DECOY)


def _taints(cluster: Kubectl) -> set[str]:
    return {taint["key"] for taint in cluster.get("node", DECOY)["spec"].get("taints", [])}


@contextmanager
def _heartbeat(cluster: Kubectl, node: str) -> Iterator[None]:
    """Renews the node's lease, as a kubelet does; else Kubernetes takes the node for lost."""
    stopped = threading.Event()
    leases = cluster.within("kube-node-lease")

    def beat() -> None:
        while True:
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            spec = {"holderIdentity": node, "leaseDurationSeconds": 40, "renewTime": now}
            kind = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
            leases.apply({**kind, "metadata": {"name": node}, "spec": spec})
            if stopped.wait(10):
                return

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def test_a_gpu_pool_scales_from_zero_onto_its_node_and_back(
    release: Release, gpu_node: str, decoy: str
) -> None:
    assert not release.pods("worker", "gpu")
    with release.running_job("use-gpu", USE_ONE_GPU):
        pod = wait_for(
            "a worker of the GPU pool",
            lambda: next(iter(release.pods("worker", "gpu")), None),
            seconds=180,
            explain=release.kubectl.explain,
        )
        assert pod["spec"]["nodeName"] == gpu_node
        (container,) = pod["spec"]["containers"]
        assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
        log = wait_for(
            "the job's answer",
            lambda: (
                text
                if "accelerators {"
                in (text := release.on_head("ray", "job", "logs", HEAD_ADDRESS, "use-gpu"))
                else None
            ),
            seconds=120,
            explain=release.kubectl.explain,
        )
    assert "'GPU': ['0']" in log
    wait_for(
        "an empty GPU pool",
        lambda: not pods_of_gpu_pool(release),
        seconds=180,
        explain=release.kubectl.explain,
    )


def pods_of_gpu_pool(release: Release) -> list[str]:
    """Every pod that was asked for, Pending and ending ones too."""
    selector = f"ray.io/cluster={NAME},ray.io/node-type=worker,ray.io/group=gpu"
    return [pod["metadata"]["name"] for pod in release.kubectl.list("pods", selector)]


def wait_for_answer(release: Release, job: str, answer: str, *, seconds: float) -> None:
    wait_for(
        f"{answer!r} from {job}",
        lambda: answer in release.on_head("ray", "job", "logs", HEAD_ADDRESS, job),
        seconds=seconds,
        explain=release.kubectl.explain,
    )


def empty_gpu_pool(release: Release) -> None:
    """As the autoscaler would; it lets a worker that never came wait for five minutes first.

    Only once it has seen that nothing asks for a GPU, and each pod that it asked for: else it asks
    again, or waits for a pod that was taken away and asks for no other.
    """
    wait_for(
        "no demand",
        lambda: "(no resource demands)" in release.on_head("ray", "status"),
        seconds=120,
        explain=release.kubectl.explain,
    )
    time.sleep(AUTOSCALER_ROUNDS_SECONDS)
    groups = release.kubectl.get("raycluster", NAME)["spec"]["workerGroupSpecs"]
    index = [group["groupName"] for group in groups].index("gpu")
    path = f"/spec/workerGroupSpecs/{index}"
    strategy = {"workersToDelete": pods_of_gpu_pool(release)}
    patch = [
        {"op": "replace", "path": f"{path}/replicas", "value": 0},
        {"op": "add", "path": f"{path}/scaleStrategy", "value": strategy},
    ]
    release.kubectl("patch", "raycluster", NAME, "--type=json", f"--patch={json.dumps(patch)}")
    wait_for(
        "an empty GPU pool",
        lambda: not pods_of_gpu_pool(release),
        seconds=120,
        explain=release.kubectl.explain,
    )


def test_a_burst_of_cpu_work_starts_no_gpu_worker(release: Release) -> None:
    """Of default values; no node has a GPU here, so a worker of that pool would stay Pending."""
    assert pods_of_gpu_pool(release) == []
    with release.running_job("burst", BURST):
        wait_for_answer(release, "burst", "burst done", seconds=240)
    assert pods_of_gpu_pool(release) == []


def test_cpu_work_runs_beside_a_gpu_pod_that_stays_pending(release: Release) -> None:
    try:
        with release.running_job("no-gpu-node", USE_ONE_GPU):
            wait_for(
                "a Pending worker of the GPU pool",
                lambda: pods_of_gpu_pool(release),
                seconds=120,
                explain=release.kubectl.explain,
            )
            with release.running_job("beside", BURST):
                wait_for_answer(release, "beside", "burst done", seconds=240)
    finally:
        empty_gpu_pool(release)


def test_a_demand_that_no_pool_fills_is_named_within_a_minute_and_ends_the_job(
    release: Release, s3: str
) -> None:
    publish_digits(f"{s3}/wanting/data")
    settings = [
        "verb=train", "recipe=digits_smoke", f"input={s3}/wanting/data",
        f"output={s3}/wanting/model", "args={--set,workers.use_gpu=true}",
        "runtimeEnvYAML=env_vars: {DARKROOM_DEMAND_TIMEOUT_SECONDS: '75'}",
    ]  # fmt: skip
    try:
        code, lines = submit_in_time(release.kubectl, release.rayjob("wanting", *settings))
    finally:
        release.kubectl("delete", "rayjob", "wanting", "--ignore-not-found", timeout=60)
        empty_gpu_pool(release)
    said = "\n".join(text for _, text in lines)
    assert code == 1, said

    def first(*words: str) -> float:
        found = [at for at, text in lines if all(word in text for word in words)]
        assert found, f"no line with {words}: {said}"
        return found[0]

    began = first("RUNNING")
    figures = {
        "submit names the pool": round(first("of pool gpu", "Unschedulable") - began, 1),
        "the verb names the demand": round(first("waiting for", "GPU") - began, 1),
        "the job ended": round(lines[-1][0] - began, 1),
    }
    LOGS.mkdir(parents=True, exist_ok=True)
    (LOGS / "unfilled-demand.json").write_text(json.dumps(figures, indent=1))
    assert figures["submit names the pool"] < 60
    assert figures["the verb names the demand"] < 60
    assert "DARKROOM_DEMAND_TIMEOUT_SECONDS" in said
