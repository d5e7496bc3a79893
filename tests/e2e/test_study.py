"""A study, and an evaluation that gates, as RayJobs: what they decide is in the job's status."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import pytest
from testcluster.client import rayjob_end, rayjob_succeeds
from tests.helpers.release import BUCKET, Release, job_arguments

from darkroom.jobs.artifacts.evaluation import EvaluationInfo
from darkroom.jobs.artifacts.study import StudyInfo
from darkroom.storage import open_artifact

FOLDER = f"s3://{BUCKET}/study"
NUM_TRIALS = 4


@pytest.fixture(scope="module", autouse=True)
def data(release: Release) -> Iterator[str]:
    """Digits in the release's bucket, prepared there."""
    with release.s3_from_here():
        uri = f"{FOLDER}/data"
        apply(release, "study-data", "prepare", f"output={uri}")
        rayjob_succeeds(release.kubectl, "study-data", seconds=300)
        yield uri


@pytest.fixture(scope="module")
def study(release: Release, data: str) -> str:
    """Four short trials, two at a time."""
    output = f"{FOLDER}/study"
    args = ["--trials-at-once=2", f"--limit={NUM_TRIALS}"]
    # The model of the best trial is what is evaluated below.
    args += ["--set", f"search.num_trials={NUM_TRIALS}", "--confirm=1"]
    apply(release, "study", "tune", f"input={data}", f"output={output}", args=args)
    rayjob_succeeds(release.kubectl, "study", seconds=600)
    return output


def apply(release: Release, name: str, verb: str, *settings: str, args: Sequence[str] = ()) -> None:
    given = [f"verb={verb}", "recipe=digits_smoke", *settings, *job_arguments(args)]
    release.kubectl.apply_text(release.rayjob(name, *given))


@pytest.mark.timeout(1200)
def test_a_study_ends_with_every_trial_once(study: str) -> None:
    artifact = open_artifact(study)
    artifact.verify()
    info = StudyInfo.of(artifact)
    trials = artifact.read_table("trials.parquet").to_pylist()
    assert sorted(trial["number"] for trial in trials) == list(range(NUM_TRIALS))
    assert not Counter(trial["state"] for trial in trials)["failed"]
    assert info.best_trial in range(NUM_TRIALS)
    names = {entry.name for entry in artifact.manifest.files}
    assert {"best.yaml", "study.html"} <= names


@pytest.mark.timeout(1200)
def test_a_gate_that_is_not_met_fails_the_job_and_publishes_its_figures(
    release: Release, data: str, study: str
) -> None:
    best = StudyInfo.of(open_artifact(study)).best_trial
    samples = f"{FOLDER}/samples"
    apply(
        release, "study-samples", "sample",
        f"input={study}/trials/{best}", f"output={samples}",
    )  # fmt: skip
    rayjob_succeeds(release.kubectl, "study-samples", seconds=300)

    def judged(name: str, requirement: str) -> str:
        output = f"{FOLDER}/{name}"
        args = ["--reference", data, "--require", requirement]
        apply(
            release, name, "evaluate", f"input={samples}", f"output={output}", args=args
        )  # fmt: skip
        status = rayjob_end(release.kubectl, name, seconds=400)
        (verdict,) = EvaluationInfo.of(open_artifact(output)).verdicts
        assert verdict.requirement == requirement
        return str(status["jobStatus"])

    # Twelve steps teach a network nothing.
    assert judged("gate-shut", "class_accuracy>0.95") == "FAILED"
    assert judged("gate-open", "kernel_pixels<100") == "SUCCEEDED"
