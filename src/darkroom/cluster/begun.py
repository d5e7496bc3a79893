"""RayJobs that have begun: the operator runs none twice, and ignores what is changed of a run."""

from __future__ import annotations

from typing import Any

from darkroom.cluster.finding import label
from darkroom.errors import InputError

Object = dict[str, Any]

# What the operator reads anew as long as the job is there (KubeRay 1.6, rayjob_controller.go).
_READ_LATER = {
    "activeDeadlineSeconds",
    "backoffLimit",
    "deletionStrategy",
    "preRunningDeadlineSeconds",
    "shutdownAfterJobFinishes",
    "suspend",
    "ttlSecondsAfterFinished",
}
# In these a new run, by the spec as it then is, comes or may still come.
_TO_COME = {"", "Retrying", "Suspended", "Suspending"}


def check_begun(wanted: Object, there: Object) -> str | None:
    """What a person should know of a RayJob that is there, as the server has it and would have it.

    None where the job has yet to run. Errors: InputError when a change would never run.
    """
    status = there.get("status") or {}
    state = str(status.get("jobDeploymentStatus") or "")
    if state in _TO_COME:
        return None
    since = f"of {status['startTime']}, {state}" if status.get("startTime") else state
    if _run_of(wanted) != _run_of(there):
        raise InputError(
            label(wanted),
            None,
            f"is there already ({since}), and no RayJob runs twice: the change would never run",
            "delete it first (`darkroom submit --cancel NAME`), or give this one another name",
        )
    return f"{label(wanted)} was there already, just like this: it is that run ({since})"


def _run_of(job: Object) -> Object:
    spec = job.get("spec") or {}
    return {name: value for name, value in spec.items() if name not in _READ_LATER}
