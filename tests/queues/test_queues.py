"""Kueue's released manager and KubeRay's operator on the shipped queue: who gets in, who waits.

No kubelet runs here. What this cannot show: pods on nodes of a flavor, a job that ends by itself,
a preempted run that goes on at its checkpoint (tests/proofs/test_kill_proof.py kills and resumes
runs; here Kueue suspends, and the operator deletes and makes the cluster again).
"""

from __future__ import annotations

import json

import pytest
from testcluster.client import Kubectl
from testcluster.settings import PROJECT
from tests.helpers.namespaces import new_namespace
from tests.helpers.queued import (
    QUEUE,
    cluster_of,
    condition,
    fixed,
    holds,
    reserves,
    starts,
    submit,
    until,
    waits,
    workloads,
)
from tests.helpers.release import JOB_CHART

QUOTA = 16
"""GPUs of the flavor gpu-spot, as manifests/infrastructure/configs has it."""


def test_the_shipped_queues_are_active(cluster: Kubectl, namespace: Kubectl) -> None:
    def active(kind: str, name: str) -> bool:
        return holds(namespace.get(kind, name), "Active")

    until(namespace, "the cluster queue", lambda: active("clusterqueue", QUEUE))
    until(namespace, "the local queue", lambda: active("localqueue", "gpu"))
    groups = cluster.get("clusterqueue", QUEUE)["spec"]["resourceGroups"]
    (flavor,) = (f for g in groups for f in g["flavors"] if f["name"] == "gpu-spot")
    quota = {item["name"]: item["nominalQuota"] for item in flavor["resources"]}
    assert int(quota["nvidia.com/gpu"]) == QUOTA


def test_what_fits_gets_in_and_the_rest_waits_for_room(namespace: Kubectl) -> None:
    submit(namespace, "first", *fixed(gpus=10))
    made = starts(namespace, "first")
    (worker,) = made["spec"]["workerGroupSpecs"]
    place = worker["template"]["spec"]
    assert place["nodeSelector"] == {"karpenter.sh/capacity-type": "spot"}
    assert "nvidia.com/gpu" in [item.get("key") for item in place["tolerations"]]
    assert not made["spec"]["headGroupSpec"]["template"]["spec"].get("nodeSelector")
    reserves(namespace, 10)

    submit(namespace, "second", *fixed(gpus=10))
    held = waits(namespace, "second")
    assert "insufficient" in condition(held, "QuotaReserved")["message"]
    reserves(namespace, 10)

    submit(namespace, "small", *fixed(gpus=6))
    starts(namespace, "small")
    reserves(namespace, QUOTA)

    namespace("delete", "rayjob", "first", timeout=60)
    starts(namespace, "second")
    reserves(namespace, QUOTA)


def test_the_end_of_a_job_gives_its_quota_back(namespace: Kubectl) -> None:
    """The end is written by the test, where a Ray cluster would have reached it."""
    submit(namespace, "over", *fixed(gpus=10), "cleanup.ttlSeconds=600")
    starts(namespace, "over")
    submit(namespace, "next", *fixed(gpus=10))
    waits(namespace, "next")
    status = {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}
    namespace.write_status("rayjob", "over", status)
    starts(namespace, "next")
    (workload,) = workloads(namespace, "over")
    assert holds(workload, "Finished")


def test_a_more_urgent_job_takes_the_place_of_another_which_comes_back(namespace: Kubectl) -> None:
    urgent = {
        "apiVersion": "kueue.x-k8s.io/v1beta2",
        "kind": "WorkloadPriorityClass",
        "metadata": {"name": "urgent"},
        "value": 1000,
    }
    namespace.apply(urgent)
    submit(namespace, "patient", *fixed(gpus=10))
    before = starts(namespace, "patient")["metadata"]["uid"]
    label = r"commonLabels.kueue\.x-k8s\.io/priority-class=urgent"
    submit(namespace, "urgent", *fixed(gpus=10), label)
    starts(namespace, "urgent")
    (evicted,) = workloads(namespace, "patient")
    assert condition(evicted, "Evicted")["reason"] == "Preempted"
    until(namespace, "the patient's cluster gone", lambda: cluster_of(namespace, "patient") is None)

    def state() -> str:
        job = namespace.get("rayjob", "patient")
        return str(job.get("status", {}).get("jobDeploymentStatus"))

    until(namespace, "the patient suspended", lambda: state() == "Suspended")
    assert namespace.get("rayjob", "patient")["spec"]["suspend"] is True
    reserves(namespace, 10)

    namespace("delete", "rayjob", "urgent", timeout=60)
    after = starts(namespace, "patient")["metadata"]["uid"]
    assert after != before
    # The same command on a new cluster: --resume goes on at the newest checkpoint.
    assert "--resume" in namespace.get("rayjob", "patient")["spec"]["entrypoint"]


def test_jobs_of_one_priority_do_not_push_each_other_out(namespace: Kubectl) -> None:
    submit(namespace, "old", *fixed(gpus=10))
    starts(namespace, "old")
    submit(namespace, "young", *fixed(gpus=10))
    waits(namespace, "young")
    (workload,) = workloads(namespace, "old")
    assert holds(workload, "Admitted")
    assert not holds(workload, "Evicted")


def test_a_namespace_that_is_not_darkrooms_is_not_served(cluster: Kubectl) -> None:
    with new_namespace(cluster, "queues", "others") as stranger:
        stranger("apply", "--server-side", f"--kustomize={PROJECT / 'manifests' / 'queues'}")
        submit(stranger, "job", *fixed(gpus=1))
        held = waits(stranger, "job")
        assert "namespace" in condition(held, "QuotaReserved")["message"]


@pytest.mark.parametrize("change", ["shutdownAfterJobFinishes", "deletionStrategy"])
def test_a_clean_up_that_keeps_the_cluster_is_refused_by_kueue(
    change: str, namespace: Kubectl
) -> None:
    """The chart refuses it before; this is the webhook's own word."""
    import yaml

    values = ["verb=train", "output=s3://b/run", "kueue.queueName=gpu"]
    text = namespace.template("kept", JOB_CHART, *(f"--set={value}" for value in values))
    (job,) = (item for item in yaml.safe_load_all(text) if item and item["kind"] == "RayJob")
    job["spec"].pop("ttlSecondsAfterFinished")
    job["spec"]["shutdownAfterJobFinishes"] = False
    if change == "deletionStrategy":
        rule = {"policy": "DeleteCluster", "condition": {"jobStatus": "SUCCEEDED"}}
        job["spec"]["deletionStrategy"] = {"deletionRules": [rule]}
    done = namespace.run("create", "--filename=-", stdin=json.dumps(job))
    assert done.returncode != 0
    assert "a kueue managed job should delete the cluster after finishing" in done.stderr
