"""Follows a RayJob to its end: phases as they pass, the driver's log, why pods do not start.

The log is the submitter pod's, which follows the driver. A broken connection is taken up again
at the last line seen; a new submitter (a failed one is replaced) starts its log anew and is named.
What the job's state means stands in `verdict`, pure.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from darkroom.cluster.client import ClusterError, Object, RefusedError
from darkroom.cluster.explain import Cause
from darkroom.cluster.finding import mapping, sequence
from darkroom.cluster.following import FollowedCluster, Follower, Verdict, error_line

SUBMITTER_CONTAINER = "ray-job-submitter"
"""The operator's name for it, where the job's own template gives none."""


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


class JobFollower(Follower):
    """Follows one RayJob."""

    kind = "RayJob"

    def __init__(
        self, cluster: FollowedCluster, name: str, say: Callable[[str], None], **options: Any
    ) -> None:
        super().__init__(cluster, name, say, **options)
        self._log = LogFollower(cluster, say, self.record.log)

    def run(self) -> Verdict:
        found = super().run()
        self._log.stop()
        return found

    def _phase(self, followed: Object) -> str:
        status = followed.get("status") or {}
        phase = str(status.get("jobDeploymentStatus") or "New")
        return f"{phase} ({status['jobStatus']})" if status.get("jobStatus") else phase

    def _cluster_names(self, followed: Object) -> list[str]:
        name = (followed.get("status") or {}).get("rayClusterName")
        return [name] if name else []

    def _judge(self, followed: Object, pods: list[Object]) -> Verdict | None:
        self._log.attend(pods, submitter_container(followed))
        if found := verdict(followed, self.record.log):
            self._log.drain()
            return verdict(followed, self.record.log) or found
        return self._explain(pods)

    def _may_be_fatal(self, cause: Cause) -> bool:
        """On a cluster that is others' too, the job waits for its submitter and the head alone."""
        if not (self.record.followed.get("spec") or {}).get("clusterSelector"):
            return True
        return cause.pool is None

    def _pods(self) -> list[Object]:
        submitters = self.cluster.pods(f"batch.kubernetes.io/job-name={self.name}")
        self._remember(submitters)
        return submitters + super()._pods()

    def _waits_by_itself(self) -> bool:
        """Ray runs the driver; from there on it says itself what it waits for, and for how long."""
        return (self.record.followed.get("status") or {}).get("jobStatus") == "RUNNING"


class LogFollower:
    """Streams the newest submitter pod's log in a thread, through lost connections."""

    def __init__(
        self, cluster: FollowedCluster, say: Callable[[str], None], lines: list[str]
    ) -> None:
        self._cluster, self._say, self._lines = cluster, say, lines
        self._pod: str | None = None
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()

    def attend(self, pods: list[Object], container: str) -> None:
        """Follow the newest submitter pod whose `container` has started."""
        newest = max(
            (pod for pod in pods if _has_started(pod, container)),
            key=lambda pod: str(pod["metadata"].get("creationTimestamp")),
            default=None,
        )
        if newest is None or newest["metadata"]["name"] == self._pod:
            return
        self.drain()
        if self._pod is not None:
            self._say(f"-- a new submitter, {newest['metadata']['name']}, takes over")
        self._pod = newest["metadata"]["name"]
        of = (self._pod, container)
        self._thread = threading.Thread(target=self._stream, args=of, daemon=True)
        self._thread.start()

    def drain(self, timeout_seconds: float = 15) -> None:
        """Wait for what is still on its way."""
        if self._thread is not None:
            self._thread.join(timeout_seconds)

    def stop(self) -> None:
        self._stopped.set()

    def _stream(self, pod: str, container: str) -> None:
        last: str | None = None
        shown: set[str] = set()
        failures = 0
        while not self._stopped.is_set() and failures < 100:
            try:
                for line in self._cluster.follow_log(pod, container, last):
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


def submitter_container(job: Object) -> str:
    """The first one of the job's own template keeps its name."""
    template = mapping(mapping(mapping(job.get("spec")).get("submitterPodTemplate")).get("spec"))
    first = next(iter(sequence(template.get("containers"))), None)
    return str(mapping(first).get("name") or SUBMITTER_CONTAINER)


def _has_started(pod: Object, container: str) -> bool:
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    return any(
        item.get("name") == container and {"running", "terminated"} & set(item.get("state") or {})
        for item in statuses
    )
