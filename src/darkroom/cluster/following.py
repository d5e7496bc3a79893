"""What following a RayJob and following a RayService share: polling, why pods do not start, and
when to give up.

A subclass says what the object's state means. The API server may be away for minutes.
"""

from __future__ import annotations

import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from darkroom.cluster.client import ClusterError, Object
from darkroom.cluster.explain import UNSCHEDULABLE, Cause, causes

POLL_SECONDS = 2.0
PENDING_TIMEOUT_SECONDS = 1800.0
"""How long a pod may be without a node before what it is for has started: as long as a job that
runs waits for resources (darkroom.jobs.demand)."""
# A Python exception's last line, or the one line in which `darkroom` says what was wrong.
_EXCEPTION = re.compile(
    r"^(?:darkroom: |(?:[A-Za-z_][\w.]*\.)?[A-Z]\w*(?:Error|Exception|Interrupt|Exit)\b).*"
)


class FollowedCluster(Protocol):
    """What following needs of a cluster."""

    namespace: str

    def get(self, api_version: str, kind: str, name: str) -> Object | None: ...
    def pods(self, selector: str) -> list[Object]: ...
    def events(self) -> list[Object]: ...
    def follow_log(self, pod: str, container: str, since: str | None) -> Any: ...


@dataclass(frozen=True)
class Verdict:
    """How a job ended, or what a service came to."""

    exit_code: int
    summary: str


@dataclass
class Record:
    """What was seen on the way; the post-mortem keeps it."""

    phases: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    causes: list[Cause] = field(default_factory=list)
    followed: Object = field(default_factory=dict)
    """The RayJob or RayService as it was last."""
    clusters: list[str] = field(default_factory=list)
    """Names of its RayClusters."""
    pods: dict[str, Object] = field(default_factory=dict)


def error_line(message: str, log: list[str]) -> str:
    """The Python error's last line if there is one, else the message's first line."""
    for lines in (log, message.splitlines()):
        for line in reversed(lines):
            plain = re.sub(r"\x1b\[[0-9;]*m", "", line).strip()
            if _EXCEPTION.match(plain):
                return plain
    return next((line.strip() for line in message.splitlines() if line.strip()), "no message")


class Follower(ABC):
    """Follows one object. Times and printing are given, so that tests need neither."""

    kind: str

    def __init__(
        self,
        cluster: FollowedCluster,
        name: str,
        say: Callable[[str], None],
        *,
        give_up: bool = True,
        pending_timeout_seconds: float = PENDING_TIMEOUT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.cluster, self.name, self.say = cluster, name, say
        self.give_up, self.clock, self.pause = give_up, clock, pause
        self._pending_timeout_seconds = pending_timeout_seconds
        self.record = Record()
        self._first_seen: dict[Cause, float] = {}

    def run(self) -> Verdict:
        """Block until the end. Errors: ClusterError after minutes without the API server, unless
        nothing is given up."""
        failures = 0
        while True:
            try:
                found = self._step()
                failures = 0
            except ClusterError as error:
                failures += 1
                if self.give_up and failures > 150:
                    raise
                if failures == 1:
                    self.say(f"... {error}; trying again")
                found = None
            if found is not None:
                return found
            self.pause(POLL_SECONDS)

    def _step(self) -> Verdict | None:
        followed = self.cluster.get("ray.io/v1", self.kind, self.name)
        if followed is None:
            return Verdict(1, f"gone: the {self.kind} was deleted")
        self.record.followed = followed
        self._show(self._phase(followed))
        for name in self._cluster_names(followed):
            if name not in self.record.clusters:
                self.record.clusters.append(name)
        return self._judge(followed, self._pods())

    @abstractmethod
    def _phase(self, followed: Object) -> str:
        """What it is at, for a person."""

    @abstractmethod
    def _cluster_names(self, followed: Object) -> list[str]:
        """RayClusters that it has now."""

    @abstractmethod
    def _judge(self, followed: Object, pods: list[Object]) -> Verdict | None:
        """The end, or None while it goes on."""

    def _show(self, phase: str) -> None:
        if not self.record.phases or self.record.phases[-1] != phase:
            self.record.phases.append(phase)
            self.say(f"== {self.name}: {phase}")

    def _pods(self) -> list[Object]:
        names = self._cluster_names(self.record.followed)
        found = [pod for name in names for pod in self.cluster.pods(f"ray.io/cluster={name}")]
        self._remember(found)
        return found

    def _remember(self, pods: list[Object]) -> None:
        self.record.pods.update({pod["metadata"]["name"]: pod for pod in pods})

    def _explain(self, pods: list[Object], own: list[Cause] | None = None) -> Verdict | None:
        """Say once what holds it up; the end when waiting does not mend it."""
        names = self._cluster_names(self.record.followed)
        current = [*(own or []), *causes(pods, self.cluster.events(), [self.name, *names])]
        now = self.clock()
        for cause in current:
            if cause not in self._first_seen:
                self._first_seen[cause] = now
                self.record.causes.append(cause)
                self.say(f"-- {cause}")
        if not self.give_up:
            return None
        return self._hopeless(current, now)

    def _hopeless(self, current: list[Cause], now: float) -> Verdict | None:
        """A cause that waiting does not mend and that has been seen for long enough."""
        if self._waits_by_itself():
            return None
        for cause in filter(self._may_be_fatal, current):
            limit: float | None = cause.fatal_after_seconds
            if cause.reason == UNSCHEDULABLE:
                limit = self._pending_timeout_seconds
            seen = self._since(cause, now)
            if limit is not None and now - seen >= limit:
                return Verdict(1, f"cannot start: {cause}")
        return None

    def _waits_by_itself(self) -> bool:
        """Whether it runs, and says itself what it waits for, and for how long."""
        return False

    def _may_be_fatal(self, cause: Cause) -> bool:  # noqa: ARG002 - a subclass's to say
        """Whether what is followed cannot begin while this lasts."""
        return True

    def _since(self, cause: Cause, now: float) -> float:
        """Pull errors change their reason and words while they stay the same fault."""
        same = [
            seen
            for known, seen in self._first_seen.items()
            if known.subject == cause.subject
            and (known.fatal_after_seconds is None) == (cause.fatal_after_seconds is None)
        ]
        return min(same, default=now)
