"""Why pods of a job or a service do not run, in Kubernetes' own words. Pure: pods and events in.

A reason is fatal when waiting does not mend it: the image has no such name, a container's
configuration names a Secret that is not there. A pod without a node may still get one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]

# Waiting reasons of containers, and seconds to wait before they count as fatal: the operator makes
# the token's Secret moments after the pod, and a registry may hiccup once.
FATAL_AFTER_SECONDS = {
    "InvalidImageName": 0,
    "ErrImageNeverPull": 10,
    "ErrImagePull": 25,
    "ImagePullBackOff": 25,
    "CreateContainerConfigError": 40,
    "CreateContainerError": 40,
    "RunContainerError": 40,
}
UNSCHEDULABLE = "Unschedulable"
"""No node takes the pod; one may be bought for it."""
# Events worth a person's eye, of any object that belongs to the job.
TELLING_EVENTS = frozenset(
    {
        "AutoscalerServiceAccountNotFound",
        "FailedScheduling",
        "FailedMount",
        "FailedAttachVolume",
        "FailedCreate",
        "FailedCreatePodSandBox",
        "FailedToCreateHeadPod",
        "FailedToCreateWorkerPod",
        "FailedToCreateRayCluster",
        "FailedToCreateRayJobSubmitter",
        "FailedToCreateRole",
        "FailedToCreateRoleBinding",
        "FailedToCreateService",
        "FailedToCreateServiceAccount",
        "FailedToUpdateServeApplications",
        "InvalidRayJobSpec",
        "InvalidRayJobMetadata",
        "InvalidRayClusterSpec",
        "InvalidRayServiceSpec",
        "InvalidRayServiceMetadata",
        "RayServiceInitializingTimeout",
        "Evicted",
        "Preempted",
        "ValidationFailed",
    }
)


@dataclass(frozen=True)
class Cause:
    """One thing that holds a job up."""

    subject: str
    reason: str
    message: str
    fatal_after_seconds: int | None = None
    """None: waiting may mend it."""
    pool: str | None = None
    """The pool of a worker's pod."""

    def __str__(self) -> str:
        return f"{self.subject}: {self.reason}: {self.message}"


def causes(pods: Iterable[Object], events: Iterable[Object], names: Iterable[str]) -> list[Cause]:
    """What holds up these pods, and the telling events of objects that start with `names`."""
    pods = list(pods)
    found = [cause for pod in pods for cause in _pod_causes(pod)]
    found += _event_causes(events, [pod["metadata"]["name"] for pod in pods], list(names))
    return list(dict.fromkeys(found))


def _pod_causes(pod: Object) -> Iterator[Cause]:
    metadata = pod["metadata"]
    labels = metadata.get("labels") or {}
    pool = labels.get("ray.io/group") if labels.get("ray.io/node-type") == "worker" else None
    # The user knows pools, not pods' names.
    subject = f"pod {metadata['name']}" + (f" of pool {pool}" if pool else "")
    status = pod.get("status") or {}
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            reason, message = condition.get("reason", ""), condition.get("message", "")
            yield Cause(subject, reason, message, pool=pool)
    kinds = ("initContainerStatuses", "containerStatuses")
    for container in [item for kind in kinds for item in status.get(kind) or []]:
        yield from _container_causes(subject, pool, container)


def _container_causes(subject: str, pool: str | None, container: Object) -> Iterator[Cause]:
    state = container.get("state") or {}
    waiting = state.get("waiting") or {}
    reason = waiting.get("reason")
    if reason in FATAL_AFTER_SECONDS:
        message = waiting.get("message") or f"image {container.get('image')}"
        yield Cause(subject, reason, message, FATAL_AFTER_SECONDS[reason], pool)
    ended = state.get("terminated") or (container.get("lastState") or {}).get("terminated") or {}
    if ended.get("reason") == "OOMKilled":
        text = f"container {container.get('name')} went over its memory limit"
        yield Cause(subject, "OOMKilled", text, pool=pool)


def _event_causes(events: Iterable[Object], pods: list[str], names: list[str]) -> Iterator[Cause]:
    for event in events:
        about = event.get("involvedObject") or {}
        name = str(about.get("name", ""))
        if event.get("reason") not in TELLING_EVENTS or event.get("type") == "Normal":
            continue
        if name in pods or any(name == stem or name.startswith(f"{stem}-") for stem in names):
            subject = f"{str(about.get('kind', '')).lower()} {name}"
            yield Cause(subject, str(event["reason"]), str(event.get("message", "")).strip())
