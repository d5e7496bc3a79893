"""The darkroom-cluster chart, installed: its own tests, its security, its upgrades."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from testcluster.client import pod_spec, run_pod, wait_for
from tests.helpers.release import NAME, Release

# Asks the dashboard for its jobs, and to run one, with and without the token.
ASK_DASHBOARD = f"""
import json, os, time, urllib.error, urllib.request
until = time.monotonic() + 60
def status(token, body=None):
    headers = {{"Authorization": "Bearer " + token}} if token else {{}}
    url = "http://{NAME}-head-svc:8265/api/jobs/"
    try:
        request = urllib.request.Request(url, data=body, headers=headers)
        return urllib.request.urlopen(request, timeout=20).status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        # Who enforces policies may learn of this pod's address after the pod has begun.
        if time.monotonic() > until: raise
        time.sleep(1)
        return status(token, body)
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


def _uids(pods: list[dict[str, Any]]) -> set[str]:
    return {pod["metadata"]["uid"] for pod in pods}


@pytest.mark.smoke
def test_helm_test_passes(release: Release) -> None:
    """The chart's own check: a job with the token, S3 from the head and from a worker per pool."""
    done = release.kubectl.helm("test", NAME, "--logs", "--timeout=400s")
    assert done.returncode == 0, f"{done.stdout}{done.stderr}{release.kubectl.explain()}"


@pytest.mark.smoke
def test_pods_run_locked_down(release: Release) -> None:
    containers = [
        container
        for pod in release.kubectl.list("pods", f"app.kubernetes.io/instance={NAME}")
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


@pytest.mark.smoke
def test_the_dashboard_asks_for_the_token(release: Release, image: str) -> None:
    token = {"secretKeyRef": {"name": NAME, "key": "auth_token"}}
    spec = pod_spec(
        image,
        command=["python", "-c", ASK_DASHBOARD],
        env=[{"name": "TOKEN", "valueFrom": token}],
    )
    submitter = {"darkroom/cluster": NAME, "darkroom/component": "submitter"}
    answers = json.loads(run_pod(release.kubectl, "ask-dashboard", spec, labels=submitter))
    refused = {answer for question, answer in answers.items() if question != "token"}
    assert answers["token"] == 200
    assert refused <= {401, 403}


@pytest.fixture
def three_workers(release: Release) -> Iterator[set[str]]:
    """Three workers that the autoscaler brought, held busy; their uids."""
    with release.running_job("hold", HOLD_THREE_WORKERS):
        wait_for(
            "three workers",
            lambda: len(release.pods("worker", "cpu")) == 3,
            seconds=300,
            explain=release.kubectl.explain,
        )
        yield _uids(release.pods("worker", "cpu"))


def test_upgrades_take_no_worker_away(release: Release, three_workers: set[str]) -> None:
    for settings in ([], ["pools.cpu.maxReplicas=4"]):
        release.upgrade(*settings)
        _assert_kept(release, three_workers)
    manifest = release.kubectl.helm("get", "manifest", NAME).stdout
    # What a controller that applies the rendered manifests again would do.
    release.kubectl(
        "apply", "--server-side", "--force-conflicts", "--filename=-", stdin=manifest, timeout=60
    )
    _assert_kept(release, three_workers)
    # And nothing is left for it to revert. kubectl diff exits with 1 when something is.
    difference = release.kubectl.run(
        "diff", "--server-side", "--force-conflicts", "--filename=-", stdin=manifest
    )
    assert difference.returncode == 0, difference.stdout


def _assert_kept(release: Release, workers: set[str]) -> None:
    cluster = release.kubectl.get("raycluster", NAME)
    groups = {group["groupName"]: group for group in cluster["spec"]["workerGroupSpecs"]}
    assert groups["cpu"]["replicas"] == 3
    # The operator has seen the new generation; had it wanted fewer workers, it would show.
    wait_for(
        "the operator to see the upgrade",
        lambda: _observed(release),
        seconds=60,
        explain=release.kubectl.explain,
    )
    assert _uids(release.pods("worker", "cpu")) == workers


def _observed(release: Release) -> bool:
    cluster = release.kubectl.get("raycluster", NAME)
    generation = cluster["metadata"]["generation"]
    return bool(cluster["status"].get("observedGeneration") == generation)
