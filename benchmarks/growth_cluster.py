"""Growth of the operator's work: many RayJobs on a control plane without nodes.

The light tier (`hack/testcluster/light.py`): a real API server and the real operator, no kubelet,
so each job brings a cluster whose pods stay Pending. Needs the programs of the light tier and
Helm, which it builds where they are not (minutes, once).
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from benchmarks.growth_meter import MB, metered
from testcluster import binaries
from testcluster.client import Kubectl
from testcluster.light import PROGRAMS, light_cluster
from testcluster.settings import PROJECT, path_with_binaries

from darkroom.plain_yaml import parse_yaml

NAMESPACE = "growth"
RECONCILE_SECONDS = 1800
POLL_SECONDS = 1.0
_REQUESTS = re.compile(r"^apiserver_request_total\{(.*)\} (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')
# Those of this benchmark itself, and what a control plane does without any job.
_OURS = {("LIST", "rayjobs"), ("LIST", "pods"), ("PATCH", "rayjobs"), ("APPLY", "rayjobs")}
_IDLE = {"leases", ""}


def rayjobs(count: int) -> None:
    """Apply so many jobs with clusters of their own, until each has the pod of its head."""
    binaries.build([*PROGRAMS, "helm"])
    os.environ["PATH"] = path_with_binaries()["PATH"]
    with (
        tempfile.TemporaryDirectory(prefix="darkroom-bench-") as folder,
        light_cluster(Path(folder) / "light") as kubeconfig,
    ):
        kubectl = Kubectl(f"--kubeconfig={kubeconfig}").within(NAMESPACE)
        kubectl("create", "namespace", NAMESPACE)
        jobs = _jobs(kubectl, count)
        idle = _operator().memory_info().rss
        before = _requests(kubectl)
        with metered("RayJobs reconciled", count) as row:
            kubectl.apply(*jobs)
            row["apply_seconds"] = _wait(kubectl, count)
            row["api_requests"] = _requests(kubectl) - before
            row["operator_idle_mb"] = idle / MB
            row["operator_mb"] = _operator().memory_info().rss / MB


def _jobs(kubectl: Kubectl, count: int) -> list[dict[str, Any]]:
    """As the chart renders one, under so many names."""
    chart = PROJECT / "charts" / "darkroom-job"
    text = kubectl.template(
        "job", chart, f"--values={chart}/ci/kind.yaml", "--set=verb=prepare",
        "--set=recipe=digits_smoke", "--set=input=", "--set=output=s3://darkroom/{run}",
    )  # fmt: skip
    objects = [
        parse_yaml(part, where="the chart") for part in text.split("\n---\n") if part.strip()
    ]
    (job,) = (each for each in objects if each and each["kind"] == "RayJob")
    made = []
    for number in range(count):
        copy = json.loads(json.dumps(job))
        copy["metadata"]["name"] = f"job-{number:05d}"
        made.append(copy)
    return made


def _wait(kubectl: Kubectl, count: int) -> float:
    """Until every job is under way; seconds."""
    started = time.perf_counter()
    while time.perf_counter() - started < RECONCILE_SECONDS:
        jobs = kubectl.list("rayjobs")
        states = [job.get("status", {}).get("jobDeploymentStatus") for job in jobs]
        if states.count("Initializing") == count:
            heads = kubectl.list("pods", "ray.io/node-type=head")
            if len(heads) == count:
                return time.perf_counter() - started
        time.sleep(POLL_SECONDS)
    raise TimeoutError(f"{count} RayJobs were not reconciled in {RECONCILE_SECONDS} s")


def _requests(kubectl: Kubectl) -> float:
    """Requests that the API server has answered, watches and this benchmark's own left out."""
    total = 0.0
    for labels, value in _REQUESTS.findall(kubectl("get", "--raw=/metrics")):
        of = dict(_LABEL.findall(labels))
        asked = (of.get("verb", ""), of.get("resource", ""))
        if asked not in _OURS and asked[0] != "WATCH" and asked[1] not in _IDLE:
            total += float(value)
    return total


def _operator() -> psutil.Process:
    children = psutil.Process().children(recursive=True)
    (operator,) = (child for child in children if child.name() == "kuberay-operator")
    return operator
