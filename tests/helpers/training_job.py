"""A RayJob that trains for long enough to be looked at, or disturbed, in its middle."""

from __future__ import annotations

from collections.abc import Callable

from testcluster.client import rayjob_succeeds, wait_for
from tests.helpers.release import BUCKET, Release

from darkroom.storage import Artifact, open_artifact, open_store
from darkroom.storage.pointer import read_pointer

INTERVAL = 20
STEPS = 80
# Big batches: a step takes long enough that a fault meets the run in its middle.
SLOWLY = (
    "args={{--set,batch_size=512,--set,max_steps={steps},--set,compute.num_threads=1,"
    f"--set,validation.every_steps={INTERVAL}}}}}"
)
FOLDER = f"s3://{BUCKET}/training"


def published_step(output: str) -> int:
    """The step of a run's newest published checkpoint; 0 before there is one."""
    state, _ = read_pointer(open_store(output))
    return state.step if state else 0


def driver_log(release: Release, job: str) -> str:
    """What every submitter pod of the job has printed: the driver's log."""
    pods = release.kubectl.list("pods", f"batch.kubernetes.io/job-name={job}")
    return "".join(release.kubectl("logs", pod["metadata"]["name"]) for pod in pods)


class Training:
    """One RayJob that trains, and what can be seen of it in the bucket."""

    def __init__(self, release: Release, name: str, steps: int = STEPS) -> None:
        """Starts it on what was published at `FOLDER`/data."""
        self.release, self.name, self.steps = release, name, steps
        self.uri = f"{FOLDER}/{name}"
        slowly = SLOWLY.format(steps=steps)
        settings = ["verb=train", "recipe=digits_smoke", f"input={FOLDER}/data"]
        manifests = release.rayjob(name, *settings, f"output={self.uri}", slowly)
        release.kubectl.apply_text(manifests)

    def step(self) -> int:
        """The step of the newest published checkpoint."""
        return published_step(self.uri)

    def wait_for_checkpoint(self) -> int:
        """Blocks until the first one; training then goes on for a while."""
        step: int = wait_for(
            f"a checkpoint of {self.name}",
            self.step,
            seconds=240,
            explain=self.release.kubectl.explain,
        )
        assert step < self.steps - INTERVAL, f"too late to disturb it: step {step}"
        return step

    def end(self, meanwhile: Callable[[], object] = lambda: None) -> Artifact:
        """Blocks until the job has succeeded, doing `meanwhile` again and again; its model."""
        rayjob_succeeds(self.release.kubectl, self.name, seconds=400, meanwhile=meanwhile)
        return open_artifact(self.uri)

    def log(self) -> str:
        """The driver's log."""
        return driver_log(self.release, self.name)
