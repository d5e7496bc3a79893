"""Says what a job waits for when no node of the cluster offers it, and ends too long a wait.

Ray waits for resources for ever and without a word. Its autoscaler knows what is asked for and
which nodes are on their way; why a pod stays Pending only Kubernetes knows, and `darkroom submit`
says it. A demand is everybody's on a shared cluster, so a job is ended only where it has itself
stood still for as long. A busy node that could serve the demand later is no fault.
"""

from __future__ import annotations

import _thread
import logging
import math
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from darkroom.errors import ConfigError, DarkroomError
from darkroom.jobs.progress import seconds_since_progress

TIMEOUT_VARIABLE = "DARKROOM_DEMAND_TIMEOUT_SECONDS"
TIMEOUT_SECONDS = 1800.0
"""Half an hour: buying a GPU node and pulling an image of gigabytes takes minutes."""

POLL_SECONDS = 10.0
PATIENCE_SECONDS = 25.0
"""Before the first word; a pod whose image is on its node joins in less."""
REPEAT_SECONDS = 60.0

logger = logging.getLogger(__name__)
Resources = Mapping[str, float]
_REMEDY = "give a pool such a node (its maxReplicas, gpus, cpus), or ask for less"


class UnfilledDemandError(DarkroomError):
    """The cluster did not offer what the job asked for within the time limit."""


class DemandWatch:
    """Looks at the cluster's demands every few seconds, in a thread of its own."""

    def __init__(self, gcs_address: str, timeout_seconds: float) -> None:
        self._gcs_address = gcs_address
        self._timeout_seconds = timeout_seconds
        self._ended = threading.Event()
        self._is_main = threading.current_thread() is threading.main_thread()
        self._thread = threading.Thread(target=self._run, name="demand-watch", daemon=True)
        self.error: UnfilledDemandError | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()

    def _run(self) -> None:
        since, said = math.inf, -math.inf
        while not self._ended.wait(POLL_SECONDS):
            now = time.monotonic()
            text = self._look()
            since = min(since, now) if text else math.inf
            stood_still = min(now - since, seconds_since_progress())
            if not text or stood_still < PATIENCE_SECONDS:
                continue
            if stood_still >= self._timeout_seconds:
                self._give_up(text)
                return
            if now - said >= REPEAT_SECONDS:
                said = now
                limit = f"the job ends after {self._timeout_seconds:g} s ({TIMEOUT_VARIABLE})"
                logger.warning("waiting for %.0f s: %s; %s", stood_still, text, limit)

    def _look(self) -> str:
        """What is in want; empty when nothing is, or when Ray does not answer."""
        from ray.autoscaler.v2.sdk import get_cluster_status

        try:
            return describe(get_cluster_status(self._gcs_address))
        except Exception as error:  # noqa: BLE001 - Ray raises anything while its head restarts
            logger.debug("the cluster's demands cannot be read: %s", type(error).__name__)
            return ""

    def _give_up(self, text: str) -> None:
        self.error = UnfilledDemandError(
            f"{text}, for {self._timeout_seconds:g} s ({TIMEOUT_VARIABLE}); {_REMEDY}"
        )
        # A wait inside Ray ends only by a signal; whoever has taken SIGINT over asks `check`.
        if self._is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            _thread.interrupt_main()


_watch: DemandWatch | None = None


@contextmanager
def watched_demands() -> Iterator[None]:
    """Watch the cluster that this process is connected to for as long as the block runs.

    Errors: UnfilledDemandError once the time limit is over, ConfigError for a limit that is none.
    """
    global _watch  # noqa: PLW0603 - one connection a process, so one watch
    import ray

    outer = _watch
    _watch = watch = DemandWatch(ray.get_runtime_context().gcs_address, _timeout_seconds())
    watch.start()
    try:
        yield
    except KeyboardInterrupt:
        check()
        raise
    finally:
        watch.stop()
        _watch = outer


def check() -> None:
    """For loops that have taken SIGINT over. Errors: UnfilledDemandError."""
    if _watch is not None and _watch.error is not None:
        raise _watch.error


def _timeout_seconds() -> float:
    given = os.environ.get(TIMEOUT_VARIABLE, "")
    try:
        seconds = float(given or TIMEOUT_SECONDS)
    except ValueError:
        seconds = math.nan
    if not seconds > 0:
        raise ConfigError(TIMEOUT_VARIABLE, given, "is no number of seconds above 0", "correct it")
    return seconds


def describe(status: Any) -> str:
    """What a ClusterStatus of Ray's autoscaler says is in want, and which pools are on their way.

    Empty when every demand fits some node that is there, busy or not.
    """
    nodes = [node.total_resources() for node in (*status.active_nodes, *status.idle_nodes)]
    wanted = _unfilled(status.resource_demands, nodes)
    if not wanted:
        return ""
    shown = ", ".join(f"{count} x {_shown(bundle)}" for bundle, count in wanted.items())
    coming: Counter[str] = Counter()
    for launch in status.pending_launches:
        coming[launch.ray_node_type_name] += launch.count
    for node in status.pending_nodes:
        coming[node.ray_node_type_name] += 1
    if not coming:
        return f"no node offers {shown}, and no pool that could is being started"
    pools = ", ".join(f"{count} of pool {name}" for name, count in sorted(coming.items()))
    return f"no node offers {shown}; Pending: {pools}"


_Bundle = tuple[tuple[str, float], ...]


def _unfilled(demands: Any, nodes: Sequence[Resources]) -> Counter[_Bundle]:
    found: Counter[_Bundle] = Counter()
    for demand in demands.ray_task_actor_demand:
        for request in demand.bundles_by_count:
            bundle = _plain(request.bundle)
            if bundle and not any(_fits(bundle, node) for node in nodes):
                found[bundle] += request.count
    for group in demands.placement_group_demand:
        bundles = [
            bundle
            for request in group.bundles_by_count
            for bundle in [_plain(request.bundle)] * request.count
        ]
        if not _all_fit(bundles, nodes):
            found.update(bundles)
    return found


def _plain(bundle: Resources) -> _Bundle:
    """Without what Ray adds by itself; a task inside a placement group is the group's demand."""
    if any("_group_" in name for name in bundle):
        return ()
    return tuple(sorted((name, value) for name, value in bundle.items() if ":" not in name))


def _fits(bundle: _Bundle, node: Resources) -> bool:
    return all(node.get(name, 0.0) >= value for name, value in bundle)


def _all_fit(bundles: Sequence[_Bundle], nodes: Sequence[Resources]) -> bool:
    """First fit into empty nodes, the largest first."""
    free = [dict(node) for node in nodes]
    for bundle in sorted(bundles, key=lambda each: -sum(value for _, value in each)):
        node = next((each for each in free if _fits(bundle, each)), None)
        if node is None:
            return False
        for name, value in bundle:
            node[name] -= value
    return True


def _shown(bundle: _Bundle) -> str:
    return "{" + ", ".join(f"{name}: {value:g}" for name, value in bundle) + "}"
