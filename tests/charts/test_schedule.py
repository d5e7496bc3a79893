"""Schedules of darkroom-job: what a run becomes, who may do what, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tools import RenderError, operator_verdicts, render, schema_errors

from darkroom.cluster.rules import check_manifest
from darkroom.cluster.scheduled import Owner, run_of

JOB: dict[str, Any] = {"verb": "train", "output": "s3://b/nightly/{run}"}
DAILY: dict[str, Any] = JOB | {"schedule": {"cron": "@daily"}}
OWNER = Owner("darkroom-schedule-29384760", "1")
RAY_CRON_JOB: dict[str, Any] = {
    "rayCronJob": True, "concurrencyPolicy": "Allow",
    "successfulJobsHistoryLimit": None, "failedJobsHistoryLimit": None,
}  # fmt: skip
QUEUED_BY_RAY = {
    "output": "s3://b/r", "onExisting": "overwrite",
    "schedule": RAY_CRON_JOB, "kueue": {"queueName": "gpu"},
}  # fmt: skip
Object = dict[str, Any]


def one(objects: list[Object], kind: str, name: str = "") -> Object:
    (found,) = (
        item for item in objects if item["kind"] == kind and name in ("", item["metadata"]["name"])
    )
    return found


def pattern(objects: list[Object]) -> Object:
    """The RayJob from which runs are made."""
    return dict(json.loads(one(objects, "ConfigMap")["data"]["rayjob.json"]))


def waiting_pod(objects: list[Object]) -> Object:
    return dict(one(objects, "CronJob")["spec"]["jobTemplate"]["spec"]["template"])


@pytest.mark.parametrize(
    "values",
    [
        DAILY,
        DAILY | {"kueue": {"queueName": "gpu"}},
        DAILY | {"clusterSelector": "shared", "submission": {"mode": "HTTPMode"}},
        JOB | {"schedule": {"cron": "@daily"}, "output": "s3://b/data", "onExisting": "overwrite"},
    ],
)
def test_a_run_is_a_job_that_every_judge_takes(values: dict[str, Any]) -> None:
    objects = render("darkroom-job", values)
    assert not [item for item in objects if item["kind"] == "RayJob"]
    run = run_of([pattern(objects)], OWNER)
    assert schema_errors([*objects, run]) == []
    assert [finding for item in [*objects, run] for finding in check_manifest(item)] == []
    assert [verdict["error"] for verdict in operator_verdicts([run])] == [""]


def test_a_run_is_the_job_without_a_schedule() -> None:
    scheduled = pattern(render("darkroom-job", DAILY | {"kueue": {"queueName": "gpu"}}))
    plain = JOB | {"output": "s3://b/nightly/20251114-0200", "kueue": {"queueName": "gpu"}}
    alone = one(render("darkroom-job", plain), "RayJob")
    run = run_of([scheduled], OWNER)
    line = run["spec"].pop("entrypoint")
    assert line.replace("'", "") == alone["spec"].pop("entrypoint")
    assert run["spec"] == alone["spec"]
    assert run["metadata"]["labels"].pop("app.kubernetes.io/managed-by") == "darkroom-schedule"
    alone["metadata"]["labels"].pop("app.kubernetes.io/managed-by")
    assert run["metadata"]["labels"] == alone["metadata"]["labels"]
    assert run["metadata"].get("annotations") == alone["metadata"].get("annotations")


def test_arguments_pass_through_the_pattern_unchanged() -> None:
    nasty = ["", "it's", "new\nline", "$(HOME)", "{{ .Values.verb }}", "\x01\x7f\u2028", "日本 🎞"]
    scheduled = pattern(render("darkroom-job", DAILY | {"args": nasty}))
    alone = one(render("darkroom-job", {"verb": "train", "output": "O", "args": nasty}), "RayJob")
    line = scheduled["spec"]["entrypoint"].replace("'s3://b/nightly/{run}'", "O")
    assert line == alone["spec"]["entrypoint"]


def test_the_pod_that_waits_is_named_after_its_job_and_has_the_only_token() -> None:
    objects = render("darkroom-job", DAILY)
    template = waiting_pod(objects)
    spec = template["spec"]
    (container,) = spec["containers"]
    environment = {item["name"]: item for item in container["env"]}
    for name, label in (("JOB_NAME", "job-name"), ("JOB_UID", "controller-uid")):
        path = environment[name]["valueFrom"]["fieldRef"]["fieldPath"]
        assert path == f"metadata.labels['batch.kubernetes.io/{label}']"
    assert container["args"][-2:] == ["--for-job", "$(JOB_NAME)/$(JOB_UID)"]
    assert spec["serviceAccountName"] == "darkroom-schedule"
    assert spec["automountServiceAccountToken"] is False
    tokens = [
        source
        for volume in spec["volumes"]
        for source in volume.get("projected", {}).get("sources", [])
        if "serviceAccountToken" in source
    ]
    assert len(tokens) == 1
    assert '"serviceAccountName": "darkroom-schedule"' not in json.dumps(pattern(objects))


def test_the_account_makes_rayjobs_and_looks_and_does_no_more() -> None:
    objects = render("darkroom-job", DAILY)
    role = one(objects, "Role")
    granted = {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert granted == {
        ("ray.io", "rayjobs", "create"), ("ray.io", "rayjobs", "get"),
        ("", "pods", "list"), ("", "events", "list"), ("", "pods/log", "get"),
    }  # fmt: skip
    (subject,) = one(objects, "RoleBinding")["subjects"]
    assert subject == {
        "kind": "ServiceAccount", "name": "darkroom-schedule", "namespace": "darkroom",
    }  # fmt: skip


def test_only_the_api_server_s3_and_dns_are_open_to_the_pod_that_waits() -> None:
    objects = render("darkroom-job", DAILY)
    policies = [item for item in objects if item["kind"] == "NetworkPolicy"]
    labels = waiting_pod(objects)["metadata"]["labels"]

    def selects(policy: Object) -> bool:
        wanted = policy["spec"]["podSelector"]["matchLabels"]
        return bool(wanted.items() <= labels.items())

    (policy,) = (policy for policy in policies if selects(policy))
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in policy["spec"]
    ports = [{port["port"] for port in rule["ports"]} for rule in policy["spec"]["egress"]]
    assert ports == [{443, 6443}, {53, 5353}, {443}]


def test_pods_that_are_lost_are_replaced_and_failed_jobs_are_not() -> None:
    spec = one(render("darkroom-job", DAILY), "CronJob")["spec"]["jobTemplate"]["spec"]
    ignored, failed = spec["podFailurePolicy"]["rules"]
    assert ignored["onPodConditions"][0]["type"] == "DisruptionTarget"
    assert failed["onExitCodes"]["values"] == [1, 2]
    assert (
        spec["template"]["spec"]["containers"][0]["name"]
        == (failed["onExitCodes"]["containerName"])
    )
    assert spec["template"]["spec"]["restartPolicy"] == "Never"


def test_null_is_kubernetes_own_default() -> None:
    limits = dict.fromkeys(("successfulJobsHistoryLimit", "failedJobsHistoryLimit"))
    values = JOB | {"schedule": {"cron": "@daily", **limits}}
    spec = one(render("darkroom-job", values), "CronJob")["spec"]
    assert not {*limits, "startingDeadlineSeconds"} & set(spec)


def test_the_operators_own_schedule_passes_its_schema() -> None:
    values = {"verb": "train", "output": "s3://b/run", "onExisting": "overwrite"}
    schedule_values = RAY_CRON_JOB | {"cron": "0 2 * * *"}
    objects = render("darkroom-job", values | {"schedule": schedule_values})
    assert schema_errors(objects) == []
    schedule = one(objects, "RayCronJob")
    template = {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": {"name": "x"}}
    job = template | {"spec": schedule["spec"]["jobTemplate"]}
    assert check_manifest(job) == []
    assert [verdict["error"] for verdict in operator_verdicts([job])] == [""]
    assert not [item for item in objects if item["kind"] in ("CronJob", "Role", "ConfigMap")]


REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("schedule-output", {"output": "s3://b/run"}),
    ("schedule-output", {"output": "s3://b/run", "onExisting": "refuse"}),
    ("schedule-name-hash", {"nameHash": True}),
    ("schedule-suspend", {"suspend": True}),
    ("name-length", {"fullnameOverride": "a" * 34}),
    ("run-without-schedule", {"schedule": {"cron": ""}}),
    ("run-without-schedule", {"output": "s3://b/r", "input": "{run}", "schedule": {"cron": ""}}),
    ("schedule-without-cron", {"output": "s3://b/r", "schedule": {"cron": "", "suspend": True}}),
    ("schedule-without-cron", {"output": "s3://b/r", "schedule": {"cron": "", "rayCronJob": True}}),
    ("raycronjob-run", {"schedule": RAY_CRON_JOB}),
    *(
        (rule, {"output": "s3://b/r", "onExisting": "overwrite", "schedule": RAY_CRON_JOB | more})
        for rule, more in (
            ("raycronjob-lacks", {"concurrencyPolicy": "Forbid"}),
            ("raycronjob-lacks", {"startingDeadlineSeconds": 60}),
            ("raycronjob-lacks", {"failedJobsHistoryLimit": 1}),
            ("raycronjob-time-zone", {"timeZone": "Europe/Berlin"}),
        )
    ),
    *(
        ("raycronjob-lacks", {"output": "s3://b/r", "onExisting": "overwrite", "schedule": given})
        for given in (
            RAY_CRON_JOB | {"nodeSelector": {"a": "b"}},
            RAY_CRON_JOB | {"env": {"A": "b"}},
        )
    ),
    (
        "cluster-selector-ignores",
        {
            "output": "s3://b/r", "onExisting": "overwrite", "schedule": RAY_CRON_JOB,
            "clusterSelector": "darkroom", "networkPolicy": {"s3Ports": [9000]},
        },
    ),
    ("reserved-env", {"schedule": {"env": {"JOB_NAME": "x"}}}),
    ("schedule-account", {"serviceAccount": {"name": "darkroom-schedule"}}),
    ("schedule-account", {"serviceAccount": {"create": False, "name": "darkroom-schedule"}}),
    ("reserved-volume", {"schedule": {"volumes": [{"name": "rayjob", "emptyDir": {}}]}}),
    ("schedule-time-zone", {"schedule": {"timeZone": "Local"}}),
    ("raycronjob-queue", QUEUED_BY_RAY),
    *(
        ("schedule-cron", {"schedule": {"cron": cron}})
        for cron in [
            "nightly", "@every 1h", "0 2 * *", "0 2 * * * *", "60 * * * *", "0 24 * * *",
            "0 0 0 * *", "0 0 * 13 *", "0 0 * * 7", "5-1 * * * *", "*/0 * * * *", "a * * * *",
            "0  2 * * *", "0 0 * foo *", "0 0 * * xyz", "0 0 * * mon-sun", "0 0 * dec-jan *",
            "0 0 jan * *", "0 0 * mon *", "0 0 * * sunday", "TZ=UTC 0 2 * * *",
            "CRON_TZ=UTC 0 2 * * *",
        ]
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "values"), REFUSED, ids=[f"{rule}-{json.dumps(v)[:60]}" for rule, v in REFUSED]
)
def test_what_would_go_wrong_later_is_refused_in_a_line(rule: str, values: dict[str, Any]) -> None:
    schedule = {"cron": "@daily"} | values.get("schedule", {})
    with pytest.raises(RenderError) as refused:
        render("darkroom-job", JOB | values | {"schedule": schedule})
    (line,) = (line for line in str(refused.value).splitlines() if f"[{rule}]" in line)
    assert ";" in line


@pytest.mark.parametrize(
    "cron",
    [
        "@hourly",
        "*/15 * * * *",
        "0,30 2-4 1 * *",
        "0 2 * jan-mar MON-FRI",
        "5/20 * ? * 0",
        "0 0 * * Mon-Fri/2",
        "0 0 * JAN,jul-DEC sun,2-4",
    ],
)
def test_cron_as_people_write_it_is_taken(cron: str) -> None:
    objects = render("darkroom-job", JOB | {"schedule": {"cron": cron}})
    assert one(objects, "CronJob")["spec"]["schedule"] == cron


@pytest.mark.parametrize(
    "schedule",
    [
        {"timeZone": "Europe Berlin"},
        {"timeZone": ""},
        {"concurrencyPolicy": "forbid"},
        {"startingDeadlineSeconds": 9},
        {"successfulJobsHistoryLimit": -1},
        {"suspend": "no"},
        {"cronn": "@daily"},
    ],
)
def test_the_schema_names_the_value(schedule: dict[str, Any]) -> None:
    with pytest.raises(RenderError) as refused:
        render("darkroom-job", JOB | {"schedule": {"cron": "@daily"} | schedule})
    assert "schedule" in str(refused.value)
    assert "values don't meet the specifications" in str(refused.value)


def test_the_longest_name_still_fits() -> None:
    objects = render("darkroom-job", DAILY | {"fullnameOverride": "a" * 33})
    assert check_manifest(run_of([pattern(objects)], OWNER)) == []
    assert len(one(objects, "CronJob")["metadata"]["name"]) <= 52
