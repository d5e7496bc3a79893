"""Follows a RayJob to its end: phases as they pass, the driver's log, why pods do not start.

The log is the submitter pod's, which follows the driver. A broken connection is taken up again
at the last line seen; a new submitter (a failed one is replaced) starts its log anew and is named.
What the job's state means stands in `verdict`, pure.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from darkroom.cluster.client import ClusterError, Object, RefusedError
from darkroom.cluster.explain import UNSCHEDULABLE, Cause, causes

POLL_SECONDS = 2.0
PENDING_TIMEOUT_SECONDS = 1800.0
"""How long a pod may be without a node before the job has started: as long as a job that runs
waits for resources (darkroom.jobs.demand)."""
SUBMITTER_CONTAINER = "ray-job-submitter"
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
    """How a job ended."""

    exit_code: int
    summary: str


@dataclass
class Record:
    """What was seen on the way; the post-mortem keeps it."""

    phases: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    causes: list[Cause] = field(default_factory=list)
    job: Object = field(default_factory=dict)
    pods: dict[str, Object] = field(default_factory=dict)


def verdict(job: Object, log: list[str]) -> Verdict | None:
    """Exit code and reason of a RayJob's status, or None while it goes on."""
    status = job.get("status") or {}
    state = status.get("jobDeploymentStatus") or ""
    outcome = status.get("jobStatus") or ""
    reason = status.get("reason") or ""
    message = status.get("message") or ""
    if state == "Complete" and outcome == "SUCCEEDED":
        return Verdict(0, "succeeded")
    if state == "ValidationFailed":
        return Verdict(2, f"refused by the operator: {message or reason}")
    # Ray's verdict stands before the operator's: that one waits until the submitter's retries,
    # which only read the log again, are used up.
    retries = (job.get("spec") or {}).get("backoffLimit") or 0
    over = state == "Running" and outcome in ("FAILED", "STOPPED") and not retries
    if over or state in ("Complete", "Failed"):
        named = reason or outcome or state
        return Verdict(1, f"failed: {named}: {error_line(message, log)}")
    return None


def error_line(message: str, log: list[str]) -> str:
    """The Python error's last line if there is one, else the operator's first line."""
    for lines in (log, message.splitlines()):
        for line in reversed(lines):
            plain = re.sub(r"\x1b\[[0-9;]*m", "", line).strip()
            if _EXCEPTION.match(plain):
                return plain
    return next((line for line in message.splitlines() if line.strip()), "no message")


class Follower:
    """Follows one job. Times and printing are given, so that tests need neither."""

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
        self._log = LogFollower(cluster, say, self.record.log)

    def run(self) -> Verdict:
        """Block until the job ends. Errors: ClusterError after minutes without the API server,
        unless nothing is given up."""
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
                self._log.stop()
                return found
            self.pause(POLL_SECONDS)

    def _step(self) -> Verdict | None:
        job = self.cluster.get("ray.io/v1", "RayJob", self.name)
        if job is None:
            return Verdict(1, "gone: the RayJob was deleted")
        self.record.job = job
        self._show_phase(job)
        pods = self._pods(job)
        self._log.attend(pods)
        if found := verdict(job, self.record.log):
            self._log.drain()
            return verdict(job, self.record.log) or found
        return self._explain(job, pods)

    def _show_phase(self, job: Object) -> None:
        status = job.get("status") or {}
        phase = status.get("jobDeploymentStatus") or "New"
        if status.get("jobStatus"):
            phase += f" ({status['jobStatus']})"
        if not self.record.phases or self.record.phases[-1] != phase:
            self.record.phases.append(phase)
            self.say(f"== {self.name}: {phase}")

    def _pods(self, job: Object) -> list[Object]:
        found = self.cluster.pods(f"batch.kubernetes.io/job-name={self.name}")
        cluster = (job.get("status") or {}).get("rayClusterName")
        if cluster:
            found += self.cluster.pods(f"ray.io/cluster={cluster}")
        self.record.pods.update({pod["metadata"]["name"]: pod for pod in found})
        return found

    def _explain(self, job: Object, pods: list[Object]) -> Verdict | None:
        cluster = (job.get("status") or {}).get("rayClusterName") or self.name
        current = causes(pods, self.cluster.events(), [self.name, cluster])
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
        for cause in current:
            limit: float | None = cause.fatal_after_seconds
            if cause.reason == UNSCHEDULABLE and not self._has_started():
                limit = self._pending_timeout_seconds
            seen = self._since(cause, now)
            if limit is not None and now - seen >= limit:
                return Verdict(1, f"cannot start: {cause}")
        return None

    def _has_started(self) -> bool:
        """Ray runs the driver; from there on the driver itself says what it waits for."""
        return (self.record.job.get("status") or {}).get("jobStatus") == "RUNNING"

    def _since(self, cause: Cause, now: float) -> float:
        """Pull errors change their reason and words while they stay the same fault."""
        same = [
            seen
            for known, seen in self._first_seen.items()
            if known.subject == cause.subject
            and (known.fatal_after_seconds is None) == (cause.fatal_after_seconds is None)
        ]
        return min(same, default=now)


class LogFollower:
    """Streams the newest submitter pod's log in a thread, through lost connections."""

    def __init__(
        self, cluster: FollowedCluster, say: Callable[[str], None], lines: list[str]
    ) -> None:
        self._cluster, self._say, self._lines = cluster, say, lines
        self._pod: str | None = None
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()

    def attend(self, pods: list[Object]) -> None:
        """Follow the newest submitter pod that has started."""
        newest = max(
            (pod for pod in pods if _has_started(pod)),
            key=lambda pod: str(pod["metadata"].get("creationTimestamp")),
            default=None,
        )
        if newest is None or newest["metadata"]["name"] == self._pod:
            return
        self.drain()
        if self._pod is not None:
            self._say(f"-- a new submitter, {newest['metadata']['name']}, takes over")
        self._pod = newest["metadata"]["name"]
        self._thread = threading.Thread(target=self._stream, args=(self._pod,), daemon=True)
        self._thread.start()

    def drain(self, timeout_seconds: float = 15) -> None:
        """Wait for what is still on its way."""
        if self._thread is not None:
            self._thread.join(timeout_seconds)

    def stop(self) -> None:
        self._stopped.set()

    def _stream(self, pod: str) -> None:
        last: str | None = None
        shown: set[str] = set()
        failures = 0
        while not self._stopped.is_set() and failures < 100:
            try:
                for line in self._cluster.follow_log(pod, SUBMITTER_CONTAINER, last):
                    stamp, _, text = line.partition(" ")
                    # The server starts again at a whole second, so some lines come twice.
                    if last is not None and (stamp < last or line in shown):
                        continue
                    shown = {line} if stamp != last else shown | {line}
                    last = stamp
                    self._lines.append(text)
                    self._say(text)
            except RefusedError:
                return
            except ClusterError:
                failures += 1
                self._stopped.wait(1)
            else:
                return


def _has_started(pod: Object) -> bool:
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    return any(
        item.get("name") == SUBMITTER_CONTAINER
        and {"running", "terminated"} & set(item.get("state") or {})
        for item in statuses
    )
