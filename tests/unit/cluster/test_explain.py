"""What explain says of pods and events as Kubernetes writes them."""

from __future__ import annotations

from typing import Any

from darkroom.cluster.explain import causes


def pod(name: str, **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "status": status}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": message}}
    return {"name": "ray-head", "image": "darkroom:nope", "state": state}


def event(kind: str, name: str, reason: str, message: str) -> dict[str, Any]:
    about = {"kind": kind, "name": name}
    return {"involvedObject": about, "reason": reason, "message": message, "type": "Warning"}


def test_a_missing_image_is_named_and_fatal() -> None:
    pods = [pod("train-head", containerStatuses=[waiting("ErrImagePull", "no such manifest")])]
    (cause,) = causes(pods, [], ["train"])
    assert str(cause) == "pod train-head: ErrImagePull: no such manifest"
    assert cause.fatal_after_seconds is not None


def test_a_pull_without_words_names_the_image() -> None:
    (cause,) = causes([pod("p", initContainerStatuses=[waiting("ImagePullBackOff")])], [], [])
    assert "darkroom:nope" in cause.message


def test_a_missing_secret_is_fatal_but_later_than_an_impossible_name() -> None:
    secret = waiting("CreateContainerConfigError", 'secret "keys" not found')
    name = waiting("InvalidImageName", "couldn't parse image reference")
    (missing,) = causes([pod("a", containerStatuses=[secret])], [], [])
    (impossible,) = causes([pod("b", containerStatuses=[name])], [], [])
    assert "keys" in missing.message
    assert missing.fatal_after_seconds is not None
    assert impossible.fatal_after_seconds == 0
    assert missing.fatal_after_seconds > 0


def test_a_pod_without_a_node_may_still_get_one() -> None:
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
    }
    (cause,) = causes([pod("w", conditions=[condition])], [], [])
    assert "Insufficient nvidia.com/gpu" in cause.message
    assert cause.fatal_after_seconds is None


def test_quota_shows_by_the_owners_event() -> None:
    quota = event("RayCluster", "train-abcde", "FailedToCreateWorkerPod", "exceeded quota: gpus")
    (cause,) = causes([], [quota], ["train"])
    assert str(cause) == "raycluster train-abcde: FailedToCreateWorkerPod: exceeded quota: gpus"


def test_events_of_others_and_of_no_weight_are_left_out() -> None:
    events = [
        event("RayCluster", "training-abcde", "FailedCreate", "another's"),
        event("Pod", "train-head", "Pulling", "pulling the image"),
        event("Pod", "train-head", "FailedScheduling", "no node") | {"type": "Normal"},
    ]
    assert causes([pod("train-head")], events, ["train"]) == []


def test_the_same_event_twice_is_one_cause() -> None:
    twice = [event("Pod", "p", "FailedMount", "secret not found")] * 2
    assert len(causes([pod("p")], twice, [])) == 1


def test_memory_is_named_after_the_restart_too() -> None:
    ended = {"terminated": {"reason": "OOMKilled"}}
    status = {"name": "ray-worker", "state": {"running": {}}, "lastState": ended}
    (cause,) = causes([pod("w", containerStatuses=[status])], [], [])
    assert cause.reason == "OOMKilled"


def test_running_pods_have_no_causes() -> None:
    running = {"name": "ray-head", "state": {"running": {"startedAt": "now"}}}
    assert causes([pod("head", containerStatuses=[running])], [], ["train"]) == []
