"""A schedule of darkroom-job with pods that run: each run a RayJob with an output of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from testcluster.client import Kubectl, wait_for
from tests.helpers.owners import owned
from tests.helpers.release import JOB_CHART, Release
from tests.helpers.release import NAME as CLUSTER
from tests.helpers.scheduled import jobs_of, start_by_hand

from darkroom.storage import open_artifact

NAME = "nightly"
SCHEDULE = f"{NAME}-schedule"


@pytest.fixture
def schedule(release: Release) -> Iterator[Kubectl]:
    """The release's namespace with a schedule that is due each minute, on the shared cluster."""
    endpoint = f"http://{CLUSTER}-s3.{release.kubectl.namespace}.svc:8333"
    settings = [
        "verb=prepare", "recipe=digits_smoke", "input=", f"fullnameOverride={NAME}",
        "output=s3://darkroom/nightly/{run}", f"s3.endpoint={endpoint}",
        f"clusterSelector={CLUSTER}", "schedule.cron=* * * * *",
    ]  # fmt: skip
    flags = [f"--set-literal={setting}" for setting in settings]
    values = [f"--values={JOB_CHART}/ci/kind-schedule.yaml", "--set-json=args=[]"]
    text = release.kubectl.template(NAME, JOB_CHART, *values, *flags)
    release.kubectl.apply_text(text)
    yield release.kubectl
    release.kubectl("delete", "--ignore-not-found", "--filename=-", stdin=text, timeout=180)


def ended(kubectl: Kubectl, job: str) -> str:
    """Complete or Failed, once the Job is."""
    conditions = kubectl.get("job.batch", job)["status"].get("conditions", [])
    return next(
        (
            c["type"]
            for c in conditions
            if c["type"] in ("Complete", "Failed") and c["status"] == "True"
        ),
        "",
    )


def test_two_runs_one_after_the_other_each_with_its_output(schedule: Kubectl, s3: str) -> None:
    """By the pod's own account, in the pod: this is what the light tier cannot run."""
    first = wait_for(
        "the minute's Job",
        lambda: jobs_of(schedule, SCHEDULE),
        seconds=120,
        explain=schedule.explain,
    )[0]["metadata"]["name"]
    schedule("patch", "cronjob", SCHEDULE, '--patch={"spec": {"suspend": true}}')
    by_hand = start_by_hand(schedule, SCHEDULE, "again")
    for job in (first, by_hand):
        outcome = wait_for(
            f"the end of {job}",
            lambda job=job: ended(schedule, job),  # type: ignore[misc]
            seconds=420,
            explain=schedule.explain,
        )
        assert outcome == "Complete", schedule.explain()
        log = schedule("logs", f"job.batch/{job}")
        assert ": succeeded" in log, log
        (run,) = owned(schedule, "rayjobs", "Job", job)
        word = run["metadata"]["name"].removeprefix(f"{NAME}-")
        assert open_artifact(f"{s3}/nightly/{word}", kind="dataset").manifest.files
        assert f"logs: s3://darkroom/nightly/{word}/" in log, log
    # With the Job goes its run; what it published stays.
    schedule("delete", "job.batch", by_hand, timeout=60)
    wait_for(
        "its run's removal",
        lambda: f"{NAME}-again" not in [r["metadata"]["name"] for r in schedule.list("rayjobs")],
        seconds=60,
        explain=schedule.explain,
    )
    assert open_artifact(f"{s3}/nightly/again", kind="dataset").manifest.files
