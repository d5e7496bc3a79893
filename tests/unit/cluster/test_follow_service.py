"""Following a service: its clusters and applications, when it is ready, and when it cannot be.

States are as KubeRay 1.6.1 writes them (`calculateStatus` and `calculateConditions` in its source).
"""

from __future__ import annotations

from typing import Any

import pytest
from tests.helpers.clock import Clock

from darkroom.cluster.follow_service import SETTLE_SECONDS, ServiceFollower, conclusion

TRACE = "Deploying app 'darkroom' failed with exception:\nTraceback\n  x\nConfigError: models: no x"


def side(cluster: str, state: str = "", message: str = "", **deployments: Any) -> dict[str, Any]:
    """One of the two halves of a status."""
    found: dict[str, Any] = {"rayClusterName": cluster}
    if state:
        application = {"status": state, "message": message, "serveDeploymentStatuses": deployments}
        found["applicationStatuses"] = {"darkroom": application}
    return found


def service(
    ready: str = "False", reason: str = "Initializing", *, generation: int = 1, observed: int = 1,
    active: Any = None, pending: Any = None, endpoints: int = 0, message: str = "",
) -> dict[str, Any]:  # fmt: skip
    condition = {"type": "Ready", "status": ready, "reason": reason, "message": message}
    status = {
        "conditions": [condition], "observedGeneration": observed, "numServeEndpoints": endpoints,
        "activeServiceStatus": active or {}, "pendingServiceStatus": pending or {},
    }  # fmt: skip
    metadata = {"name": "draw", "generation": generation, "uid": "u1"}
    return {"kind": "RayService", "metadata": metadata, "status": status}


STARTING = service(pending=side("draw-a"))
DEPLOYING = service(pending=side("draw-a", "DEPLOYING"))
READY = service("True", "NonZeroServeEndpoints", active=side("draw-a", "RUNNING"), endpoints=2)
NEW = {"kind": "RayService", "metadata": {"name": "draw", "generation": 1}}


class ServiceScript:
    """Answers each poll from a script: the last answer stays."""

    namespace = "ml"

    def __init__(self, services: list[Any], pods: list[dict[str, Any]] | None = None) -> None:
        self.services, self.found = services, pods or []
        self.selectors: set[str] = set()

    def get(self, *_identity: str) -> Any:
        return self.services.pop(0) if len(self.services) > 1 else self.services[0]

    def pods(self, selector: str) -> list[dict[str, Any]]:
        self.selectors.add(selector)
        return self.found

    def events(self) -> list[dict[str, Any]]:
        return []

    def follow_log(self, *_arguments: object) -> Any:
        raise AssertionError("a service has no submitter")


def follow(script: ServiceScript, **options: Any) -> tuple[ServiceFollower, list[str], Clock, Any]:
    said: list[str] = []
    clock = Clock()
    follower = ServiceFollower(
        script, "draw", said.append, clock=clock, pause=clock.pause, **options
    )
    return follower, said, clock, follower.run()


def test_a_first_start_is_told_until_it_is_ready() -> None:
    script = ServiceScript([NEW, STARTING, DEPLOYING, DEPLOYING, READY])
    follower, said, clock, ended = follow(script)
    assert said == [
        "== draw: New",
        "== draw: draw-a starts",
        "== draw: draw-a starts: darkroom DEPLOYING",
        "== draw: draw-a: 2 endpoints: darkroom RUNNING",
    ]
    assert (ended.exit_code, ended.summary) == (0, "ready: 2 endpoints on draw-a")
    assert clock.now >= SETTLE_SECONDS
    assert follower.record.clusters == ["draw-a"]
    assert script.selectors == {"ray.io/cluster=draw-a"}


def test_the_state_from_before_a_change_is_not_taken_for_the_one_after() -> None:
    """The first reconciliation after a change of the applications writes what was."""
    script = ServiceScript([READY, READY, service(active=side("draw-a", "DEPLOYING")), READY])
    _, said, clock, ended = follow(script)
    assert ended.exit_code == 0
    assert "DEPLOYING" in said[1]
    assert clock.now >= 3 * 2 + SETTLE_SECONDS


def test_an_upgrade_names_both_clusters_and_is_awaited() -> None:
    both = service(
        "True", "NonZeroServeEndpoints", active=side("draw-a"), pending=side("draw-b", "DEPLOYING"),
        endpoints=2,
    )  # fmt: skip
    script = ServiceScript([*[both] * 20, READY])
    _, said, clock, ended = follow(script)
    assert said[0] == "== draw: draw-a serves, draw-b starts: darkroom DEPLOYING"
    assert ended.exit_code == 0
    assert clock.now > 20 * 2
    assert script.selectors == {"ray.io/cluster=draw-a", "ray.io/cluster=draw-b"}


def test_what_serve_says_of_a_deployment_is_said_once() -> None:
    waits = {"status": "UPDATING", "message": "2 replicas wait for a node.\nResources: CPU 1"}
    fine = {"status": "HEALTHY", "message": ""}
    state = service(pending=side("draw-a", "DEPLOYING", drawing=waits, http=fine))
    _, said, _, _ = follow(ServiceScript([*[state] * 3, READY]))
    told = [line for line in said if line.startswith("--")]
    assert told == ["-- deployment drawing of darkroom: UPDATING: 2 replicas wait for a node."]


def test_an_application_that_cannot_be_deployed_ends_it_with_its_last_line() -> None:
    failed = service(active=side("draw-a", "DEPLOY_FAILED", TRACE))
    _, _, _, ended = follow(ServiceScript([failed]))
    assert ended.exit_code == 1
    expected = "failed: application darkroom DEPLOY_FAILED: ConfigError: models: no x"
    assert ended.summary == expected


def test_a_failed_upgrade_says_that_the_old_one_serves() -> None:
    state = service(
        "True", active=side("draw-a"), pending=side("draw-b", "DEPLOY_FAILED", TRACE), endpoints=2
    )
    assert follow(ServiceScript([state]))[3].summary.endswith(
        "; draw-a goes on serving what it did"
    )


def test_a_refused_spec_ends_with_2_and_a_mended_one_goes_on() -> None:
    refused = service(reason="ValidationFailed", observed=0, message="spec: bad")
    _, _, _, ended = follow(ServiceScript([refused]))
    assert (ended.exit_code, ended.summary) == (2, "refused by the operator: spec: bad")
    # The reason stays in the status until there are endpoints.
    mended = service(reason="ValidationFailed", generation=2, observed=2, message="spec: bad")
    assert follow(ServiceScript([*[mended] * 20, READY]))[3].exit_code == 0


def test_a_pod_that_finds_no_node_and_a_bad_image_end_it() -> None:
    condition = {
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"
    }  # fmt: skip
    pod = {"metadata": {"name": "w"}, "status": {"conditions": [condition]}}
    _, said, clock, ended = follow(ServiceScript([STARTING], [pod]), pending_timeout_seconds=100)
    assert ended.exit_code == 1
    assert 100 <= clock.now <= 104
    assert "-- pod w: Unschedulable: 0/1 nodes" in said
    state = {"waiting": {"reason": "ErrImageNeverPull", "message": "no darkroom:x"}}
    pod = {"metadata": {"name": "w"}, "status": {"containerStatuses": [{"state": state}]}}
    _, _, clock, ended = follow(ServiceScript([STARTING], [pod]))
    assert "no darkroom:x" in ended.summary
    assert clock.now <= 60


def test_a_deleted_service_ends_it() -> None:
    assert follow(ServiceScript([STARTING, None]))[3].exit_code == 1


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (NEW, None),
        (STARTING, None),
        (DEPLOYING, None),
        (READY, 0),
        (service("True", active=side("a", "RUNNING"), observed=0), None),
        (service("True", active=side("a", "RUNNING"), pending=side("b")), None),
        (service("False", "ZeroServeEndpoints", active=side("a", "RUNNING")), None),
        (service("True", active=side("a", "UNHEALTHY")), None),
        (service("True", active=side("a")), None),
        (service(active=side("a", "DEPLOY_FAILED"), observed=0), None),
        (service(active=side("a", "DEPLOY_FAILED")), 1),
        (service(reason="InitializingTimeout"), 1),
        (service(reason="ValidationFailed", observed=0), 2),
    ],
)
def test_what_every_state_concludes(state: dict[str, Any], code: int | None) -> None:
    found = conclusion(state)
    assert (found.exit_code if found else None) == code
