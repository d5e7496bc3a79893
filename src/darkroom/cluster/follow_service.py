"""Follows a RayService until it serves what it was told to: its clusters, its applications, and why
they are not ready.

A service has no end, so following ends when it is ready, or cannot be. The status may still be that
of the generation before for some reconciliations after a change, so what is concluded must hold for
SETTLE_SECONDS. What the state means stands in `conclusion`, pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from darkroom.cluster.client import Object
from darkroom.cluster.explain import Cause
from darkroom.cluster.following import Follower, Verdict, error_line

SETTLE_SECONDS = 10.0
"""Five of the operator's reconciliations. The first after a change of the applications writes down
their state of before it."""
RUNNING, DEPLOY_FAILED = "RUNNING", "DEPLOY_FAILED"
_HEALTHY = "HEALTHY"


def conclusion(service: Object) -> Verdict | None:
    """What a RayService's status says that waiting will not change, or None."""
    status = service.get("status") or {}
    ready = _condition(status, "Ready")
    reason, message = str(ready.get("reason") or ""), str(ready.get("message") or "")
    observed = (status.get("observedGeneration") or 0) >= service["metadata"].get("generation", 0)
    # A spec that is refused is never observed; once it is mended the reason still stands there.
    if reason == "ValidationFailed" and not observed:
        return Verdict(2, f"refused by the operator: {message}")
    if reason == "InitializingTimeout":
        return Verdict(1, f"failed: {reason}: {message}; delete it and submit it again")
    applications = _applications(status)
    failed = [name for name, item in applications.items() if item.get("status") == DEPLOY_FAILED]
    if observed and failed:
        line = error_line(str(applications[failed[0]].get("message") or ""), [])
        active, pending = _cluster(status, "active"), _cluster(status, "pending")
        rest = f"; {active} goes on serving what it did" if active and pending else ""
        return Verdict(1, f"failed: application {failed[0]} {DEPLOY_FAILED}: {line}{rest}")
    states = {item.get("status") for item in applications.values()}
    if (
        observed
        and ready.get("status") == "True"
        and states == {RUNNING}
        and not _cluster(status, "pending")
    ):
        return Verdict(0, f"ready: {_endpoints(status)} on {_cluster(status, 'active')}")
    return None


class ServiceFollower(Follower):
    """Follows one RayService."""

    kind = "RayService"

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._concluded: tuple[Verdict, float] | None = None

    def _phase(self, followed: Object) -> str:
        status = followed.get("status") or {}
        active, pending = _cluster(status, "active"), _cluster(status, "pending")
        applications = ", ".join(
            f"{name} {item.get('status') or 'NOT_STARTED'}"
            for name, item in sorted(_applications(status).items())
        )
        if pending:
            phase = f"{active} serves, {pending} starts" if active else f"{pending} starts"
        elif active:
            ready = _condition(status, "Ready")
            is_ready = ready.get("status") == "True"
            phase = f"{active}: {_endpoints(status) if is_ready else ready.get('reason')}"
        else:
            phase = str(_condition(status, "Ready").get("reason") or "New")
        return f"{phase}: {applications}" if applications else phase

    def _cluster_names(self, followed: Object) -> list[str]:
        status = followed.get("status") or {}
        return [name for which in ("active", "pending") if (name := _cluster(status, which))]

    def _judge(self, followed: Object, pods: list[Object]) -> Verdict | None:
        found, now = conclusion(followed), self.clock()
        if found is None:
            self._concluded = None
        elif self._concluded is None or self._concluded[0] != found:
            self._concluded = (found, now)
        elif now - self._concluded[1] >= SETTLE_SECONDS:
            return found
        own = list(_own_causes(_applications(followed.get("status") or {})))
        return self._explain(pods, own)


def _own_causes(applications: Mapping[str, Object]) -> Iterator[Cause]:
    """What Serve says of applications and deployments that are not as they should be."""
    for name, application in sorted(applications.items()):
        state, message = application.get("status"), str(application.get("message") or "")
        if state != RUNNING and message:
            yield Cause(f"application {name}", str(state), error_line(message, []))
        for of, deployment in sorted((application.get("serveDeploymentStatuses") or {}).items()):
            state, message = deployment.get("status"), str(deployment.get("message") or "")
            if state != _HEALTHY and message:
                yield Cause(f"deployment {of} of {name}", str(state), error_line(message, []))


def _applications(status: Object) -> dict[str, Object]:
    """Those of the cluster that is to serve: the operator asks only that one."""
    for which in ("pending", "active"):
        if found := (status.get(f"{which}ServiceStatus") or {}).get("applicationStatuses"):
            return dict(found)
        if _cluster(status, which):
            return {}
    return {}


def _cluster(status: Object, which: str) -> str:
    return str((status.get(f"{which}ServiceStatus") or {}).get("rayClusterName") or "")


def _condition(status: Object, kind: str) -> Object:
    found = [item for item in status.get("conditions") or [] if item.get("type") == kind]
    return dict(found[0]) if found else {}


def _endpoints(status: Object) -> str:
    number = int(status.get("numServeEndpoints") or 0)
    return f"{number} endpoint{'s' * (number != 1)}"
