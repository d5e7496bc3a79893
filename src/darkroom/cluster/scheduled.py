"""One run of a schedule: the RayJob that the Job of a CronJob makes, and waits for.

A CronJob's Job runs `darkroom submit --for-job NAME/UID`. Its RayJob has a name and, by `{run}` in
its entrypoint, an output of its own, and is owned by the Job: it goes when the Job goes, by the
CronJob's history limits or by `concurrencyPolicy: Replace`. A pod that takes over from a lost one
finds the RayJob there, and follows it. What is asked of Kubernetes is get and create.
"""

from __future__ import annotations

import copy
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from darkroom.cluster.client import ClusterError, Object
from darkroom.errors import InputError

RUN = "{run}"
PATIENCE_SECONDS = 120.0
"""How long a new pod waits for the API server: policies open seconds after its start."""
_PAUSE_SECONDS = 2.0
_JOB = re.compile(r"(?P<name>[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?)/(?P<uid>[0-9A-Za-z-]+)")


class RunCluster(Protocol):
    """What a run needs of a cluster."""

    namespace: str

    def get(self, api_version: str, kind: str, name: str) -> Object | None: ...
    def create(self, manifest: Object) -> Object | None: ...


@dataclass(frozen=True)
class Owner:
    """The Job of a CronJob, or one made from it by hand."""

    name: str
    uid: str

    @classmethod
    def parse(cls, text: str) -> Owner:
        """From NAME/UID. Errors: InputError."""
        found = _JOB.fullmatch(text)
        if found is None:
            remedy = "give the Job's name and uid, as NAME/UID"
            raise InputError("for-job", text, "is no Job", remedy)
        return cls(**found.groupdict())

    @property
    def run(self) -> str:
        """The last word of the name; a CronJob's is the minute it was due, here as 20261130-0200.

        Kubernetes counts minutes since 1970, and in UTC.
        """
        word = self.name.rpartition("-")[2]
        if re.fullmatch(r"[0-9]{8}", word):
            return datetime.fromtimestamp(int(word) * 60, UTC).strftime("%Y%m%d-%H%M")
        return word

    @property
    def reference(self) -> Object:
        """Not its controller, which is who reconciles: the RayJob's pods are not the Job's own."""
        return {"apiVersion": "batch/v1", "kind": "Job", "name": self.name, "uid": self.uid}


def run_of(objects: Sequence[Object], owner: Owner) -> Object:
    """The one RayJob of the manifests, as this run's. Errors: InputError."""
    if len(objects) != 1 or objects[0]["kind"] != "RayJob" or "name" not in objects[0]["metadata"]:
        raise InputError("manifest", len(objects), "a run is one RayJob with a name, and no more")
    job = copy.deepcopy(objects[0])
    job["metadata"]["name"] += f"-{owner.run}"
    job["metadata"]["ownerReferences"] = [owner.reference]
    spec = job.get("spec") or {}
    if isinstance(spec.get("entrypoint"), str):
        spec["entrypoint"] = spec["entrypoint"].replace(RUN, owner.run)
    return job


def start(
    cluster: RunCluster,
    job: Object,
    *,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> bool:
    """Create the run unless it is there, made for the same Job; whether it was created now.

    Errors: InputError when another Job's is there, or it is refused; ClusterError when the API
    server does not answer for PATIENCE_SECONDS.
    """
    end = clock() + PATIENCE_SECONDS
    while True:
        try:
            return _start(cluster, job)
        except ClusterError:
            if clock() >= end:
                raise
            pause(_PAUSE_SECONDS)


def _start(cluster: RunCluster, job: Object) -> bool:
    name = job["metadata"]["name"]
    there = cluster.get("ray.io/v1", "RayJob", name)
    if there is None:
        if cluster.create(job) is not None:
            return True
        there = cluster.get("ray.io/v1", "RayJob", name)
    wanted = job["metadata"]["ownerReferences"][0]["uid"]
    owners = ((there or {}).get("metadata") or {}).get("ownerReferences") or []
    if wanted not in [owner.get("uid") for owner in owners]:
        problem = f"the RayJob {name} in {cluster.namespace} was made by another"
        raise InputError("for-job", wanted, problem, "delete it, or name the Job differently")
    return False
