"""One run of a schedule: named after its Job, owned by it, made once, never another's."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from tests.helpers.clock import Clock

from darkroom.cluster.client import ClusterError
from darkroom.cluster.scheduled import PATIENCE_SECONDS, Owner, run_of, start
from darkroom.errors import InputError

PATTERN: dict[str, Any] = {
    "apiVersion": "ray.io/v1",
    "kind": "RayJob",
    "metadata": {"name": "nightly"},
    "spec": {"entrypoint": "darkroom train --output 's3://b/nightly/{run}' --set name={run}"},
}
OWNER = Owner("nightly-schedule-29384760", "1b2c")


class Server:
    """Answers get and create as the API server does; `down` answers fail first."""

    namespace = "team"

    def __init__(self, there: dict[str, Any] | None = None, *, down: int = 0) -> None:
        self.there, self.down = there, down
        self.made: list[dict[str, Any]] = []

    def get(self, api_version: str, kind: str, name: str) -> dict[str, Any] | None:
        if self.down:
            self.down -= 1
            raise ClusterError("the API server does not answer")
        assert (api_version, kind) == ("ray.io/v1", "RayJob")
        return self.there if self.there and self.there["metadata"]["name"] == name else None

    def create(self, manifest: dict[str, Any]) -> dict[str, Any] | None:
        self.made.append(manifest)
        self.there = manifest
        return manifest


class RacingServer(Server):
    """Another pod of the Job is there between get and create."""

    def create(self, manifest: dict[str, Any]) -> dict[str, Any] | None:
        self.there = manifest
        return None


@pytest.mark.parametrize(
    ("job", "run"),
    [
        ("nightly-schedule-29384760", "20251114-0200"),  # as a CronJob names it
        ("nightly-schedule-now", "now"),
        ("alone", "alone"),
        ("nightly-schedule-123", "123"),
    ],
)
def test_the_run_is_the_jobs_last_word(job: str, run: str) -> None:
    assert Owner(job, "1").run == run


def test_a_run_has_its_name_its_output_and_its_owner() -> None:
    before = copy.deepcopy(PATTERN)
    job = run_of([PATTERN], OWNER)
    assert before == PATTERN
    assert job["metadata"]["name"] == "nightly-20251114-0200"
    (owner,) = job["metadata"]["ownerReferences"]
    assert owner == {
        "apiVersion": "batch/v1", "kind": "Job", "name": OWNER.name, "uid": OWNER.uid,
    }  # fmt: skip
    line = "darkroom train --output 's3://b/nightly/20251114-0200' --set name=20251114-0200"
    assert job["spec"]["entrypoint"] == line


@pytest.mark.parametrize("text", ["", "nightly", "nightly/", "/1", "a/b/c", "Nightly/1", "a/$(X)"])
def test_a_job_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="NAME/UID"):
        Owner.parse(text)


def test_a_job_is_parsed() -> None:
    assert Owner.parse("nightly-schedule-29384760/1b2c") == OWNER


@pytest.mark.parametrize(
    "objects",
    [
        [PATTERN, PATTERN],
        [{**PATTERN, "kind": "RayCluster"}],
        [{**PATTERN, "metadata": {"generateName": "nightly-"}}],
    ],
)
def test_anything_but_one_named_rayjob_is_refused(objects: list[dict[str, Any]]) -> None:
    with pytest.raises(InputError, match="one RayJob with a name"):
        run_of(objects, OWNER)


def test_a_run_is_made_once_and_then_found() -> None:
    server = Server()
    job = run_of([PATTERN], OWNER)
    assert start(server, job) is True
    assert start(server, job) is False
    assert server.made == [job]


def test_a_pod_that_comes_second_finds_the_run() -> None:
    assert start(RacingServer(), run_of([PATTERN], OWNER)) is False


def test_another_ones_rayjob_is_not_followed() -> None:
    theirs = run_of([PATTERN], Owner(OWNER.name, "other"))
    with pytest.raises(InputError, match="made by another"):
        start(Server(theirs), run_of([PATTERN], OWNER))


def test_a_server_that_comes_late_is_waited_for() -> None:
    clock = Clock()
    job = run_of([PATTERN], OWNER)
    assert start(Server(down=5), job, clock=clock, pause=clock.pause) is True
    assert 0 < clock.now < PATIENCE_SECONDS


def test_a_server_that_stays_away_ends_the_run() -> None:
    clock = Clock()
    server = Server(down=10_000)
    with pytest.raises(ClusterError):
        start(server, run_of([PATTERN], OWNER), clock=clock, pause=clock.pause)
    assert clock.now == pytest.approx(PATIENCE_SECONDS, abs=5)
