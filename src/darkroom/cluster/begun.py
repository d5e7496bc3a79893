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


def has_begun(job: Object) -> bool:
    """Whether its one run is under way or over."""
    return _state(job) not in _TO_COME


def check_unchanged(wanted: Object, there: Object) -> str:
    """What a person should know of a job that has begun, as the server has it and would have it.

    Errors: InputError when it would be another: the change would never run.
    """
    started = (there.get("status") or {}).get("startTime")
    since = f"of {started}, {_state(there)}" if started else _state(there)
    if _run_of(wanted) != _run_of(there):
        raise InputError(
            label(wanted),
            None,
            f"is there already ({since}), and no RayJob runs twice: the change would never run",
            "delete it first (`darkroom submit --cancel NAME`), or give this one another name",
        )
    return f"{label(wanted)} was there already, just like this: it is that run ({since})"


def _state(job: Object) -> str:
    return str((job.get("status") or {}).get("jobDeploymentStatus") or "")


def _run_of(job: Object) -> Any:
    spec = job.get("spec") or {}
    return _said({name: value for name, value in spec.items() if name not in _READ_LATER})


def _said(value: Any) -> Any:
    """Without what is empty, at any depth: the operator's own writing adds `scaleStrategy: {}`."""
    if isinstance(value, dict):
        plain = {key: _said(each) for key, each in value.items()}
        return {key: each for key, each in plain.items() if each not in (None, "", [], {})}
    return [_said(each) for each in value] if isinstance(value, list) else value
