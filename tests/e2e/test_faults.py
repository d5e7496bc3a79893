"""Training survives what a cluster does to it: lost pods, a lost operator, unreachable S3.

Each run trains digits_smoke slowly enough to be hit in its middle, and must end as an undisturbed
one: the same weights, no step twice, at most one checkpoint interval redone.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator

import pytest
from testcluster.client import Kubectl, rayjob_end, wait_for
from tests.helpers.release import NAME, Release
from tests.helpers.training import weights_digest

from darkroom.storage import Artifact, open_artifact, open_store
from darkroom.storage.pointer import read_pointer

INTERVAL = 20
STEPS = 100
# Big batches: a step takes long enough that a fault meets the run in its middle.
SLOWLY = f"args={{--set,batch_size=512,--set,max_steps={STEPS},--set,compute.num_threads=1}}"


class Training:
    """One RayJob that trains, and what can be seen of it in the bucket."""

    def __init__(self, release: Release, s3: str, name: str) -> None:
        self.release, self.name = release, name
        self.uri = f"{s3}/faults/{name}"
        settings = ["verb=train", "recipe=digits_smoke", f"input={s3}/faults/data"]
        manifests = release.rayjob(name, *settings, f"output={self.uri}", SLOWLY)
        release.kubectl.apply_text(manifests)

    def step(self) -> int:
        """The step of the newest published checkpoint."""
        state = read_pointer(open_store(self.uri))
        return state.step if state else 0

    def wait_for_checkpoint(self) -> int:
        """Blocks until the first one; training then goes on for a while."""
        step: int = wait_for(
            f"a checkpoint of {self.name}",
            self.step,
            seconds=240,
            explain=self.release.kubectl.explain,
        )
        assert step < STEPS - INTERVAL, f"too late to disturb it: step {step}"
        return step

    def end(self) -> Artifact:
        """Blocks until the job has succeeded; its model."""
        status = rayjob_end(self.release.kubectl, self.name, seconds=400)
        assert status["jobStatus"] == "SUCCEEDED", f"{status}\n{self.release.kubectl.explain()}"
        return open_artifact(self.uri)

    def log(self) -> str:
        """What every submitter pod of the job has printed: the driver's log."""
        pods = self.release.kubectl.list("pods", f"batch.kubernetes.io/job-name={self.name}")
        return "".join(self.release.kubectl("logs", pod["metadata"]["name"]) for pod in pods)


@pytest.fixture(scope="module")
def data(release: Release) -> str:
    """Prepares the pictures that every run trains on."""
    settings = ["verb=prepare", "recipe=digits_smoke", "output=s3://darkroom/faults/data"]
    manifests = release.rayjob("prepare", *settings)
    release.kubectl.apply_text(manifests)
    status = rayjob_end(release.kubectl, "prepare", seconds=300)
    assert status["jobStatus"] == "SUCCEEDED", f"{status}\n{release.kubectl.explain()}"
    return "faults/data"


@pytest.fixture(scope="module")
def undisturbed(release: Release, data: str) -> str:
    """The digest of the weights that a run ends with when nothing happens to it."""
    with release.s3_from_here() as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        return weights_digest(Training(release, "s3://darkroom", "undisturbed").end())


def _assert_as_if_nothing_had_happened(model: Artifact, undisturbed: str) -> None:
    assert weights_digest(model) == undisturbed
    steps = model.read_table("metrics.parquet").to_pydict()["step"]
    assert steps == list(range(10, STEPS + 1, 10)), "a step is missing, or was kept twice"
    attempts = {item.key.split("/")[1] for item in model.store.list("attempts/")}
    assert len(attempts) == 1, "published more than once"


def _delete_pod(kubectl: Kubectl, pod: str) -> None:
    kubectl("delete", "pod", pod, "--grace-period=0", "--force", timeout=60)


@pytest.mark.parametrize("node_type", ["head", "worker"])
def test_a_lost_pod(node_type: str, release: Release, s3: str, undisturbed: str) -> None:
    run = Training(release, s3, f"lost-{node_type}")
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


def test_a_lost_operator(own_cluster: Kubectl, release: Release, s3: str, undisturbed: str) -> None:
    run = Training(release, s3, "lost-operator")
    run.wait_for_checkpoint()
    system = own_cluster.within("kuberay-system")
    for pod in system.list("pods"):
        _delete_pod(system, pod["metadata"]["name"])
    _assert_as_if_nothing_had_happened(run.end(), undisturbed)
    assert "resuming from step" not in run.log(), "the run itself was disturbed"


def test_s3_out_of_reach_for_a_minute(
    release: Release, s3: str, undisturbed: str, cut_s3: Callable[[float], None]
) -> None:
    run = Training(release, s3, "lost-s3")
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
