"""The charts' network policies with their default values, and labels of the pods they select."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import yaml
from testcluster.client import Kubectl
from tests.helpers.manifests import one
from tests.helpers.release import CHART, JOB_CHART
from tests.helpers.services import SERVICE_CHART

Objects = list[dict[str, Any]]


class Charts:
    """The four releases as helm renders them into a namespace."""

    def __init__(self, namespace: Kubectl) -> None:
        self._namespace = namespace
        job = ["verb=train", "recipe=digits", "input=s3://bucket/data", "output=s3://bucket/model"]
        serve = ["models={s3://bucket/model}", "keys.secretName=keys"]
        self.job_settings = [*job, "fullnameOverride=job"]
        self.cluster = self._render("darkroom", CHART, "devS3.enabled=true")
        self.job = self._render("job", JOB_CHART, *self.job_settings)
        self.service = self._render("draw", SERVICE_CHART, *serve)
        on_cluster = [*job, "clusterSelector=darkroom", "fullnameOverride=nightly"]
        nightly = [*on_cluster, "schedule.cron=0 3 * * *", "onExisting=overwrite"]
        self.schedule = self._render("nightly", JOB_CHART, *nightly)
        self.on_cluster = self._render("shared", JOB_CHART, *job, "clusterSelector=darkroom")

    def _render(self, name: str, chart: Path, *settings: str) -> Objects:
        flags = [f"--set={setting}" for setting in settings]
        return [o for o in yaml.safe_load_all(self._namespace.template(name, chart, *flags)) if o]

    def policies(self) -> dict[str, dict[str, Any]]:
        everything = itertools.chain(self.cluster, self.job, self.service, self.schedule)
        found = [item for item in everything if item["kind"] == "NetworkPolicy"]
        return {item["metadata"]["name"]: item for item in found}

    def job_policies(self, setting: str) -> Objects:
        """Those of the job with one more setting."""
        rendered = self._render("job", JOB_CHART, *self.job_settings, setting)
        return [item for item in rendered if item["kind"] == "NetworkPolicy"]

    def labels(self) -> dict[str, dict[str, str]]:
        """Of every pod of Darkroom's: what the chart gives it, and what the operator adds."""
        job = one(self.job, "RayJob")["spec"]
        service = one(self.service, "RayService")["spec"]["rayClusterConfig"]
        cron = one(self.schedule, "CronJob")["spec"]["jobTemplate"]["spec"]["template"]
        shared = one(self.on_cluster, "RayJob")["spec"]
        return {
            **ray_labels("cluster", one(self.cluster, "RayCluster")["spec"]),
            **ray_labels("job", job["rayClusterSpec"]),
            **ray_labels("service", service),
            "submitter": shared["submitterPodTemplate"]["metadata"]["labels"],
            "job-submitter": job["submitterPodTemplate"]["metadata"]["labels"],
            "schedule": cron["metadata"]["labels"],
            "s3": one(self.cluster, "StatefulSet")["spec"]["template"]["metadata"]["labels"],
        }


def ray_labels(name: str, spec: dict[str, Any]) -> dict[str, dict[str, str]]:
    """`tests/charts/test_operators_objects.py` holds the operator to these."""
    templates = {"head": spec["headGroupSpec"], "worker": spec["workerGroupSpecs"][0]}
    return {
        f"{name}-{kind}": {
            **group["template"]["metadata"]["labels"],
            "ray.io/is-ray-node": "yes",
            "ray.io/node-type": kind,
        }
        for kind, group in templates.items()
    }
