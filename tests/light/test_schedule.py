"""A schedule of darkroom-job on the real API server, controllers and operator.

The CronJob makes its Job and the Job its pod. No kubelet runs that pod: the test runs its very
command, as the pod's account.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from testcluster.client import Kubectl, wait_for
from tests.helpers.release import JOB_CHART
from tests.helpers.scheduled import jobs_of, pod_of, pods_command, start_by_hand

NAME = "nightly"
SCHEDULE = f"{NAME}-schedule"
ACCOUNT = f"system:serviceaccount:{{}}:{SCHEDULE}"
SECONDS = 120
SETTINGS = [
    "verb=prepare", "recipe=digits_smoke", "input=", "output=s3://darkroom/nightly/{run}",
    "fullnameOverride=nightly",
]  # fmt: skip
Object = dict[str, Any]


def rendered(kubectl: Kubectl, *settings: str) -> str:
    values = f"--values={JOB_CHART}/ci/kind.yaml"
    # A comma or a brace means something to --set-string: the settings have none but {run}.
    flags = [f"--set-literal={setting}" for setting in (*SETTINGS, *settings)]
    return kubectl.template(NAME, JOB_CHART, values, *flags)


@pytest.fixture(scope="module")
def schedule(namespace: Kubectl) -> Iterator[Kubectl]:
    """The namespace with a schedule that is due each minute."""
    namespace.apply_text(rendered(namespace, "schedule.cron=* * * * *"))
    yield namespace
    namespace("delete", "cronjob", SCHEDULE)


def runs(kubectl: Kubectl) -> list[Object]:
    return kubectl.list("rayjobs")


def test_the_controller_makes_a_job_and_its_pod_is_admitted(schedule: Kubectl) -> None:
    def due() -> tuple[Object, Object] | None:
        """The next minute's Job replaces this one's, whose pod may then never have come."""
        made = jobs_of(schedule, SCHEDULE)
        pods = schedule.list("pods", "batch.kubernetes.io/job-name")
        of_job = {pod["metadata"]["labels"]["batch.kubernetes.io/job-name"]: pod for pod in pods}
        found = [
            (job, of_job[job["metadata"]["name"]])
            for job in made
            if "instantiate" not in json.dumps(job["metadata"])
            and job["metadata"]["name"] in of_job
        ]
        return found[0] if found else None

    job, pod = wait_for(
        "the minute's Job and its pod", due, seconds=SECONDS, explain=schedule.explain
    )
    assert pod["metadata"]["labels"]["batch.kubernetes.io/controller-uid"] == job["metadata"]["uid"]
    assert pod["spec"]["serviceAccountName"] == SCHEDULE
    assert pod["spec"]["automountServiceAccountToken"] is False


def test_the_pods_command_makes_the_run_and_another_pod_takes_over(
    schedule: Kubectl, tmp_path: Path
) -> None:
    name = start_by_hand(schedule, SCHEDULE, "now")
    pod = pod_of(schedule, name, seconds=SECONDS)
    with pods_command(schedule, pod, tmp_path) as process:
        assert process.stdout is not None
        said = [process.stdout.readline()]
        while said[-1] and "RayJob/" not in said[-1]:
            said.append(process.stdout.readline())
        assert said[-1].strip() == f"made RayJob/{NAME}-now in {schedule.namespace}", said
        (run,) = runs(schedule)
        (owner,) = run["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"]) == ("Job", name)
        assert owner["uid"] == schedule.get("job.batch", name)["metadata"]["uid"]
        assert "--output s3://darkroom/nightly/now" in run["spec"]["entrypoint"].replace("'", "")
        wait_for(
            "the run's own cluster",
            lambda: schedule.list("raycluster", f"ray.io/originated-from-cr-name={NAME}-now"),
            seconds=SECONDS,
            explain=schedule.explain,
        )
    with pods_command(schedule, pod, tmp_path) as process:
        assert process.stdout is not None
        first = next(line for line in process.stdout if "RayJob/" in line)
        assert first.strip() == f"found RayJob/{NAME}-now in {schedule.namespace}"
        assert len(runs(schedule)) == 1
        # What `concurrencyPolicy: Replace` and the history limits do.
        schedule("delete", "job.batch", name, "--cascade=background")
        rest = process.stdout.read()
        assert process.wait(SECONDS) == 1
        assert f"== {NAME}-now: gone: the RayJob was deleted" in rest
    wait_for("no run", lambda: not runs(schedule), seconds=SECONDS, explain=schedule.explain)
    wait_for(
        "no cluster",
        lambda: not schedule.list("raycluster", f"ray.io/originated-from-cr-name={NAME}-now"),
        seconds=SECONDS,
        explain=schedule.explain,
    )


def test_the_account_may_do_what_that_needs_and_no_more(schedule: Kubectl) -> None:
    def rights(account: str) -> set[tuple[str, str, str]]:
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectRulesReview",
            "spec": {"namespace": schedule.namespace},
        }
        path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
        group = "--as-group=system:authenticated"
        asked = ("create", f"--raw={path}", "--filename=-", f"--as={account}", group)
        answer = json.loads(schedule(*asked, stdin=json.dumps(review)))
        return {
            (group, resource, verb)
            for rule in answer["status"]["resourceRules"]
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
        }

    anybody = rights(f"system:serviceaccount:{schedule.namespace}:default")

    def more() -> set[tuple[str, str, str]]:
        """The API server learns of a role and of its binding some time after they are made."""
        return rights(ACCOUNT.format(schedule.namespace)) - anybody

    own = wait_for("its rights", more, seconds=SECONDS, explain=schedule.explain)
    assert own == {
        ("ray.io", "rayjobs", "create"), ("ray.io", "rayjobs", "get"),
        ("", "pods", "list"), ("", "events", "list"), ("", "pods/log", "get"),
    }  # fmt: skip


@pytest.mark.parametrize("cron", ["*/15 2 * * 1-5", "5/20 * ? jan-mar MON", "@weekly"])
def test_a_cron_that_the_chart_takes_is_one_for_the_api_server(
    cron: str, namespace: Kubectl
) -> None:
    text = rendered(namespace, f"schedule.cron={cron}", "schedule.timeZone=Europe/Berlin")
    done = namespace.run("apply", "--server-side", "--dry-run=server", "-f-", stdin=text)
    assert done.returncode == 0, done.stderr


def test_the_api_server_knows_what_a_time_zone_is(namespace: Kubectl) -> None:
    text = rendered(namespace, "schedule.cron=@daily", "schedule.timeZone=Europe/Nowhere")
    done = namespace.run("apply", "--server-side", "--dry-run=server", "-f-", stdin=text)
    assert done.returncode != 0
    assert "unknown time zone Europe/Nowhere" in done.stderr
