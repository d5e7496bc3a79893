"""Following a job through its phases, its log through lost connections, and giving up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.helpers.clock import Clock

from darkroom.cluster.client import ClusterError
from darkroom.cluster.follow_job import JobFollower, verdict
from darkroom.cluster.following import POLL_SECONDS, error_line

TRACEBACK = ["Traceback (most recent call last):", "  File x", "ValueError: no rows", "exit code 1"]


def job(state: str, outcome: str = "", **status: Any) -> dict[str, Any]:
    status |= {"jobDeploymentStatus": state, "jobStatus": outcome}
    return {"metadata": {"name": "train", "uid": "u1"}, "status": status}


def submitter(name: str = "train-1", created: str = "1", state: str = "running") -> dict[str, Any]:
    status = {"name": "ray-job-submitter", "state": {state: {}}}
    metadata = {"name": name, "creationTimestamp": created}
    return {"metadata": metadata, "status": {"containerStatuses": [status]}}


class ScriptedCluster:
    """Answers each poll from a script: the last answer stays."""

    namespace = "ml"

    def __init__(
        self,
        jobs: list[Any],
        pods: list[list[dict[str, Any]]] | None = None,
        logs: dict[str, list[Any]] | None = None,
    ) -> None:
        self.jobs, self.pod_script, self.logs = jobs, pods or [[]], logs or {}
        self.asked_since: list[str | None] = []

    def get(self, *_identity: str) -> dict[str, Any] | None:
        found = self.jobs.pop(0) if len(self.jobs) > 1 else self.jobs[0]
        if isinstance(found, Exception):
            raise found
        job: dict[str, Any] | None = found
        return job

    def pods(self, selector: str) -> list[dict[str, Any]]:
        if "job-name" not in selector:
            return []
        return self.pod_script.pop(0) if len(self.pod_script) > 1 else self.pod_script[0]

    def events(self) -> list[dict[str, Any]]:
        return []

    def follow_log(self, pod: str, _container: str, since: str | None) -> Iterator[str]:
        self.asked_since.append(since)
        for item in self.logs.get(pod, [[]]).pop(0):
            if isinstance(item, Exception):
                raise item
            yield item


def follow(cluster: ScriptedCluster, **options: Any) -> tuple[JobFollower, list[str], Clock, Any]:
    said: list[str] = []
    clock = Clock()
    follower = JobFollower(cluster, "train", said.append, clock=clock, pause=clock.pause, **options)
    return follower, said, clock, follower.run()


def test_success_shows_each_phase_once_and_the_log() -> None:
    jobs = [job("Initializing"), job("Running", "RUNNING"), job("Running", "RUNNING")]
    logs = {"train-1": [["t1 step 1", "t2 step 2"]]}
    cluster = ScriptedCluster([*jobs, job("Complete", "SUCCEEDED")], [[], [submitter()]], logs)
    follower, said, _, ended = follow(cluster)
    assert ended.exit_code == 0
    assert [line for line in said if line.startswith("==")] == [
        "== train: Initializing",
        "== train: Running (RUNNING)",
        "== train: Complete (SUCCEEDED)",
    ]
    assert follower.record.log == ["step 1", "step 2"]


def test_a_lost_log_is_taken_up_where_it_broke_off() -> None:
    logs = {"train-1": [["t1 a", "t2 b", ClusterError("reset")], ["t2 b", "t2 c", "t3 b"]]}
    cluster = ScriptedCluster(
        [job("Running", "RUNNING"), job("Complete", "SUCCEEDED")], [[submitter()]], logs
    )
    follower, _, _, _ = follow(cluster)
    assert follower.record.log == ["a", "b", "c", "b"]
    assert cluster.asked_since == [None, "t2"]


def test_a_new_submitter_is_named_and_followed() -> None:
    old, new = submitter("train-1", "1", "terminated"), submitter("train-2", "2")
    logs = {"train-1": [["t1 a"]], "train-2": [["t5 a", "t6 b"]]}
    jobs = [job("Running", "RUNNING"), job("Running", "RUNNING"), job("Complete", "SUCCEEDED")]
    follower, said, _, _ = follow(ScriptedCluster(jobs, [[old], [old, new]], logs))
    assert follower.record.log == ["a", "a", "b"]
    assert any("train-2" in line for line in said)


def test_an_application_error_ends_with_its_last_line() -> None:
    message = "Job entrypoint command failed with exit code 1, last available logs: ..."
    failed = job("Failed", "FAILED", reason="AppFailed", message=message)
    logs = {"train-1": [[f"t{n} {line}" for n, line in enumerate(TRACEBACK)]]}
    _, _, _, ended = follow(ScriptedCluster([failed], [[submitter()]], logs))
    assert ended.exit_code == 1
    assert ended.summary == "failed: AppFailed: ValueError: no rows"


def test_a_bad_image_is_given_up_within_a_minute() -> None:
    def pulling(reason: str) -> list[dict[str, Any]]:
        state = {"waiting": {"reason": reason, "message": f"{reason} darkroom:nope"}}
        statuses = [{"name": "ray-job-submitter", "state": state}]
        return [{"metadata": {"name": "train-1"}, "status": {"containerStatuses": statuses}}]

    # The kubelet takes turns between the two reasons; it is one fault.
    script = [pulling("ErrImagePull"), pulling("ImagePullBackOff")] * 40
    cluster = ScriptedCluster([job("Running", "PENDING")], script)
    _, said, clock, ended = follow(cluster)
    assert ended.exit_code == 1
    assert "darkroom:nope" in ended.summary
    assert clock.now <= 60
    assert "darkroom:nope" in said[1]
    assert sum("darkroom:nope" in line for line in said) == 2


def worker_without_image(name: str = "shared-gpu-worker-x") -> dict[str, Any]:
    state = {"waiting": {"reason": "ImagePullBackOff", "message": "no darkroom:nope"}}
    labels = {"ray.io/node-type": "worker", "ray.io/group": "gpu"}
    return {
        "metadata": {"name": name, "labels": labels},
        "status": {"containerStatuses": [{"name": "ray-worker", "state": state}]},
    }


def test_a_job_that_runs_is_not_left_for_a_worker_without_image() -> None:
    jobs = [job("Running", "RUNNING")] * 40 + [job("Complete", "SUCCEEDED")]
    _, said, _, ended = follow(ScriptedCluster(jobs, [[worker_without_image()]]))
    assert ended.exit_code == 0
    assert sum("darkroom:nope" in line for line in said) == 1


def test_workers_of_a_selected_cluster_do_not_hold_a_job_up() -> None:
    """Other jobs' pools, which this one may not need."""
    jobs = [job("Running", "PENDING")] * 40 + [job("Complete", "SUCCEEDED")]
    for item in jobs:
        item["spec"] = {"clusterSelector": {"ray.io/cluster": "shared"}}
    assert follow(ScriptedCluster(jobs, [[worker_without_image()]]))[3].exit_code == 0
    own = [job("Running", "PENDING")] * 40 + [job("Complete", "SUCCEEDED")]
    assert follow(ScriptedCluster(own, [[worker_without_image()]]))[3].exit_code == 1


def test_the_submitter_of_a_template_with_a_name_of_its_own_is_read() -> None:
    """The operator keeps the name."""
    jobs = [job("Running", "RUNNING"), job("Complete", "SUCCEEDED")]
    for item in jobs:
        containers = {"containers": [{"name": "my-submitter"}]}
        item["spec"] = {"submitterPodTemplate": {"spec": containers}}
    pod = submitter()
    pod["status"]["containerStatuses"][0]["name"] = "my-submitter"
    follower, *_ = follow(ScriptedCluster(jobs, [[pod]], {"train-1": [["t1 step 1"]]}))
    assert follower.record.log == ["step 1"]


def test_waiting_goes_on_when_asked_to() -> None:
    state = {"waiting": {"reason": "InvalidImageName", "message": "x"}}
    statuses = [{"name": "ray-job-submitter", "state": state}]
    pods = [{"metadata": {"name": "train-1"}, "status": {"containerStatuses": statuses}}]
    jobs = [job("Running", "PENDING")] * 5 + [job("Complete", "SUCCEEDED")]
    _, _, _, ended = follow(ScriptedCluster(jobs, [pods]), give_up=False)
    assert ended.exit_code == 0


def test_an_absent_api_server_is_waited_for_and_said_once() -> None:
    jobs = [job("Running", "RUNNING"), *[ClusterError("down")] * 20, job("Complete", "SUCCEEDED")]
    _, said, clock, ended = follow(ScriptedCluster(jobs))
    assert ended.exit_code == 0
    assert sum("down" in line for line in said) == 1
    assert clock.now == 21 * POLL_SECONDS


def test_an_absent_api_server_ends_it_after_minutes() -> None:
    with pytest.raises(ClusterError):
        follow(ScriptedCluster([ClusterError("down")]))


def test_a_deleted_job_ends_it() -> None:
    assert follow(ScriptedCluster([job("Running", "RUNNING"), None]))[3].exit_code == 1


@pytest.mark.parametrize(
    ("state", "outcome", "code"),
    [
        ("", "", None),
        ("Initializing", "", None),
        ("Retrying", "FAILED", None),
        ("Suspended", "", None),
        ("Running", "SUCCEEDED", None),
        ("Running", "FAILED", 1),
        ("Complete", "SUCCEEDED", 0),
        ("Complete", "STOPPED", 1),
        ("Complete", "FAILED", 1),
        ("Failed", "", 1),
        ("ValidationFailed", "", 2),
    ],
)
def test_exit_code_of_every_state(state: str, outcome: str, code: int | None) -> None:
    found = verdict(job(state, outcome), [])
    assert (found.exit_code if found else None) == code


def test_a_failure_that_will_be_retried_is_not_the_end() -> None:
    failed = job("Running", "FAILED") | {"spec": {"backoffLimit": 1}}
    assert verdict(failed, []) is None


def test_the_error_line_is_the_last_exception_else_the_operators_first_line() -> None:
    assert error_line(
        "", ["a", "\x1b[31mray.exceptions.RayTaskError(ValueError): x\x1b[0m", "b"]
    ) == ("ray.exceptions.RayTaskError(ValueError): x")
    assert error_line("x", ["darkroom: input: no such output", "job failed"]).startswith(
        "darkroom:"
    )
    assert error_line("DeadlineExceeded: too slow\nmore", ["fine"]) == "DeadlineExceeded: too slow"


def unschedulable(**labels: str) -> dict[str, Any]:
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
    }
    metadata = {"name": "train-gpu-worker-x", "labels": labels}
    return {"metadata": metadata, "status": {"conditions": [condition]}}


GPU_WORKER = unschedulable(**{"ray.io/node-type": "worker", "ray.io/group": "gpu"})


def follow_pending(pending_job: dict[str, Any], *, polls: int) -> tuple[Any, list[str]]:
    """Follow a job with an unschedulable worker; it succeeds after so many polls."""
    script = [pending_job] * polls + [job("Complete", "SUCCEEDED")]
    said: list[str] = []
    clock = iter(range(0, 100_000, 60))
    follower = JobFollower(
        ScriptedCluster(script, [[GPU_WORKER]]), "train", said.append,
        clock=lambda: float(next(clock)), pause=lambda _: None, pending_timeout_seconds=600,
    )  # fmt: skip
    return follower.run(), said


def test_a_pod_that_finds_no_node_is_named_with_its_pool_at_once() -> None:
    _, said = follow_pending(job("Initializing"), polls=1)
    assert (
        "-- pod train-gpu-worker-x of pool gpu: Unschedulable: 0/1 nodes are available: "
        "1 Insufficient nvidia.com/gpu."
    ) in said


def test_a_job_that_has_not_started_waits_for_a_node_so_long_and_no_longer() -> None:
    found, _ = follow_pending(job("Initializing"), polls=30)
    assert found.exit_code == 1
    assert found.summary.startswith("cannot start: pod train-gpu-worker-x of pool gpu:")


def test_a_job_that_runs_says_itself_how_long_it_waits() -> None:
    found, _ = follow_pending(job("Running", "RUNNING"), polls=30)
    assert found.exit_code == 0
