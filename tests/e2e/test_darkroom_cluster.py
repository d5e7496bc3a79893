"""The darkroom-cluster chart, installed: its tests, its security, its autoscaling, its removal."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from testcluster.client import Kubectl, pod_spec, run_pod, wait_for
from testcluster.settings import PROJECT

CHART = PROJECT / "charts" / "darkroom-cluster"
RELEASE = "darkroom"

# Asks the dashboard for its jobs, and to run one, with and without the token.
ASK_DASHBOARD = f"""
import json, os, urllib.error, urllib.request
def status(token, body=None):
    headers = {{"Authorization": "Bearer " + token}} if token else {{}}
    url = "http://{RELEASE}-head-svc:8265/api/jobs/"
    try:
        request = urllib.request.Request(url, data=body, headers=headers)
        return urllib.request.urlopen(request, timeout=20).status
    except urllib.error.HTTPError as error:
        return error.code
job = json.dumps({{"entrypoint": "id"}}).encode()
print(json.dumps({{"token": status(os.environ["TOKEN"]), "no token": status(""),
                  "wrong token": status("wrong"), "job without token": status("", job)}}))
"""
# Holds three workers of two CPUs each for as long as it lives.
HOLD_THREE_WORKERS = (
    "import ray, time; ray.init(); "
    "hold = ray.remote(num_cpus=2)(lambda: time.sleep(900)); "
    "ray.get([hold.remote() for _ in range(3)])"
)


class Release:
    """The chart's release in one namespace."""

    def __init__(self, namespace: Kubectl) -> None:
        self.kubectl = namespace

    def upgrade(self, *settings: str) -> None:
        """Installs or upgrades with the values for small clusters, and `settings` on top."""
        values = [f"--values={CHART}/ci/kind.yaml", *(f"--set={s}" for s in settings)]
        done = self.kubectl.helm(
            "upgrade", "--install", RELEASE, str(CHART), *values, "--force-conflicts"
        )
        assert done.returncode == 0, done.stderr

    def pods(self, node_type: str) -> list[dict[str, Any]]:
        """Running pods of a kind of Ray node, `head` or `worker`."""
        pods = self.kubectl.list("pods", f"ray.io/cluster={RELEASE},ray.io/node-type={node_type}")
        return [
            pod
            for pod in pods
            if pod["status"].get("phase") == "Running"
            and "deletionTimestamp" not in pod["metadata"]
        ]

    def on_head(self, *command: str, timeout: float = 120) -> str:
        head = self.pods("head")[0]["metadata"]["name"]
        return self.kubectl("exec", head, "--container=ray-head", "--", *command, timeout=timeout)


def _uids(pods: list[dict[str, Any]]) -> set[str]:
    return {pod["metadata"]["uid"] for pod in pods}


@pytest.fixture(scope="module")
def release(namespace: Kubectl) -> Iterator[Release]:
    """The chart, installed with an S3 server of its own; head and server are ready."""
    installed = Release(namespace)
    installed.upgrade()

    def ready() -> bool:
        status = namespace.get("raycluster", RELEASE).get("status", {})
        return bool(status.get("state") == "ready")

    wait_for("a ready RayCluster", ready, seconds=300, explain=namespace.explain)
    namespace("rollout", "status", f"statefulset/{RELEASE}-s3", "--timeout=180s", timeout=200)
    yield installed
    _uninstall(installed)


def _uninstall(release: Release) -> None:
    """Uninstalls, and fails unless every object of the release, and every pod, goes."""
    done = release.kubectl.helm("uninstall", RELEASE)
    assert done.returncode == 0, done.stderr
    kinds = "raycluster,statefulset,service,networkpolicy,serviceaccount,secret,role,rolebinding"
    of_release = f"app.kubernetes.io/instance={RELEASE},app.kubernetes.io/managed-by=Helm"

    def gone() -> bool:
        left = release.kubectl.list(kinds, of_release)
        return not left and not release.kubectl.list("pods", f"ray.io/cluster={RELEASE}")

    wait_for("an empty namespace", gone, seconds=120, explain=release.kubectl.explain)


def test_helm_test_passes(release: Release) -> None:
    """The chart's own check: a job with the token, S3 from the head and from a worker per pool."""
    done = release.kubectl.helm("test", RELEASE, "--logs", "--timeout=400s")
    assert done.returncode == 0, f"{done.stdout}{done.stderr}{release.kubectl.explain()}"


def test_pods_run_locked_down(release: Release) -> None:
    containers = [
        container
        for pod in release.kubectl.list("pods", f"app.kubernetes.io/instance={RELEASE}")
        for container in [*pod["spec"]["containers"], *pod["spec"].get("initContainers", [])]
    ]
    assert len(containers) >= 3, "head, autoscaler and S3 server at least"
    for container in containers:
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"], container["name"]
        assert security["capabilities"]["drop"] == ["ALL"], container["name"]
    status = release.on_head("cat", "/proc/self/status")
    seen = dict(line.split(":\t", 1) for line in status.splitlines())
    assert seen["Uid"].split()[0] == "10001"
    assert int(seen["CapEff"], 16) == 0
    assert int(seen["CapBnd"], 16) == 0


def test_the_dashboard_asks_for_the_token(release: Release, image: str) -> None:
    token = {"secretKeyRef": {"name": RELEASE, "key": "auth_token"}}
    spec = pod_spec(
        image,
        command=["python", "-c", ASK_DASHBOARD],
        env=[{"name": "TOKEN", "valueFrom": token}],
    )
    answers = json.loads(run_pod(release.kubectl, "ask-dashboard", spec))
    refused = {answer for question, answer in answers.items() if question != "token"}
    assert answers["token"] == 200
    assert refused <= {401, 403}


@pytest.fixture
def three_workers(release: Release) -> Iterator[set[str]]:
    """Three workers that the autoscaler brought, held busy; their uids."""
    jobs = ["ray", "job"]
    head = "--address=http://127.0.0.1:8265"
    hold = ["--no-wait", "--submission-id=hold", "--", "python", "-c", HOLD_THREE_WORKERS]
    release.on_head(*jobs, "submit", head, *hold)
    wait_for(
        "three workers",
        lambda: len(release.pods("worker")) == 3,
        seconds=300,
        explain=release.kubectl.explain,
    )
    yield _uids(release.pods("worker"))
    release.on_head(*jobs, "stop", head, "hold")


def test_upgrades_take_no_worker_away(release: Release, three_workers: set[str]) -> None:
    for settings in ([], ["pools.cpu.maxReplicas=4"]):
        release.upgrade(*settings)
        cluster = release.kubectl.get("raycluster", RELEASE)
        assert cluster["spec"]["workerGroupSpecs"][0]["replicas"] == 3
        # The operator has seen the new generation; had it wanted fewer workers, it would show.
        wait_for(
            "the operator to see the upgrade",
            lambda: _observed(release),
            seconds=60,
            explain=release.kubectl.explain,
        )
        assert _uids(release.pods("worker")) == three_workers


def _observed(release: Release) -> bool:
    cluster = release.kubectl.get("raycluster", RELEASE)
    generation = cluster["metadata"]["generation"]
    return bool(cluster["status"].get("observedGeneration") == generation)
