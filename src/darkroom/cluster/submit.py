"""`darkroom submit`: check manifests, apply them, follow the RayJob, keep what it left behind.

Exit codes: 0 succeeded, 1 failed, 2 refused before anything was applied. Ctrl-C leaves the job
running and says how to come back.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from darkroom.cluster import postmortem, scheduled
from darkroom.cluster.client import Cluster, Object
from darkroom.cluster.follow import PENDING_TIMEOUT_SECONDS, Follower, Verdict
from darkroom.cluster.manifests import check_dry_run, check_rules, in_order, read_manifests
from darkroom.errors import DarkroomError, InputError

LOCAL_LOGS = Path(".darkroom") / "logs"

OpenStore = Callable[[str], postmortem.Store]


def submit(
    sources: Sequence[str],
    *,
    namespace: str | None = None,
    context: str | None = None,
    logs: str | None = None,
    follow: bool = True,
    pending_timeout_seconds: float = PENDING_TIMEOUT_SECONDS,
    for_job: str | None = None,
    open_store: OpenStore,
) -> int:
    """Run the RayJobs of `sources` one after the other; the first that fails ends it.

    `logs` is where post-mortems go instead of below each job's output; `open_store` opens a URI.
    `for_job` is the Job, NAME/UID, of a schedule that this is a run of (see `scheduled`).
    Errors: InputError (exit 2) when something is refused.
    """
    objects = read_manifests(sources)
    if for_job:
        objects = [scheduled.run_of(objects, scheduled.Owner.parse(for_job))]
    for warning in check_rules(objects):
        say(f"warning: {warning}")
    cluster = Cluster(namespace, context)
    _take_namespace(cluster, objects, namespace)
    if for_job:
        return _run_of_schedule(cluster, objects[0], logs, open_store)
    check_dry_run(cluster, objects)
    jobs: list[str] = []
    for item in in_order(objects):
        name = cluster.apply(item)["metadata"]["name"]
        say(f"applied {item['kind']}/{name} in {cluster.namespace}")
        if item["kind"] == "RayJob":
            jobs.append(name)
            if follow and (
                code := follow_job(
                    cluster,
                    jobs[-1],
                    logs,
                    open_store,
                    pending_timeout_seconds=pending_timeout_seconds,
                )
            ):
                return code
    if not follow:
        say(f"darkroom submit --namespace {cluster.namespace} --follow {jobs[-1]}")
    return 0


def follow_job(
    cluster: Cluster,
    name: str,
    logs: str | None,
    open_store: OpenStore,
    *,
    pending_timeout_seconds: float = PENDING_TIMEOUT_SECONDS,
) -> int:
    """Follow a job that is there. Errors: InputError when there is none."""
    if cluster.get("ray.io/v1", "RayJob", name) is None:
        remedy = f"`kubectl -n {cluster.namespace} get rayjobs` lists them"
        raise InputError("follow", name, f"no such RayJob in {cluster.namespace}", remedy)
    follower = Follower(cluster, name, say, pending_timeout_seconds=pending_timeout_seconds)
    return _follow(cluster, follower, logs, open_store)


def _run_of_schedule(cluster: Cluster, job: Object, logs: str | None, open_store: OpenStore) -> int:
    """As long as the RayJob lives, so does this: a policy on runs that overlap counts on it."""
    name = job["metadata"]["name"]
    made = scheduled.start(cluster, job)
    say(f"{'made' if made else 'found'} RayJob/{name} in {cluster.namespace}")
    follower = Follower(cluster, name, say, give_up=False)
    return _follow(cluster, follower, logs, open_store)


def _follow(cluster: Cluster, follower: Follower, logs: str | None, open_store: OpenStore) -> int:
    name = follower.name
    try:
        verdict = follower.run()
    except Exception:
        raise
    except BaseException:  # Ctrl-C, or the signal that the command line makes of it
        say(f"\n{name} goes on. Come back:  {_command(cluster, 'follow', name)}")
        say(f"Stop it:  {_command(cluster, 'cancel', name)}")
        raise
    _keep(cluster, follower, verdict, logs, open_store)
    say(f"== {name}: {verdict.summary}")
    return verdict.exit_code


def cancel(cluster: Cluster, name: str) -> int:
    """Delete the RayJob, and with it the cluster that it made."""
    if not cluster.delete("ray.io/v1", "RayJob", name):
        raise InputError("cancel", name, f"no such RayJob in {cluster.namespace}")
    say(f"cancelled {name}")
    return 0


def _command(cluster: Cluster, action: str, name: str) -> str:
    return f"darkroom submit --namespace {cluster.namespace} --{action} {name}"


def _take_namespace(cluster: Cluster, objects: Sequence[Object], given: str | None) -> None:
    """Manifests may name their namespace; all must name the same, and the flag must agree."""
    named = {item["metadata"]["namespace"] for item in objects if "namespace" in item["metadata"]}
    if given:
        named.add(given)
    if len(named) > 1:
        shown = ", ".join(sorted(named))
        raise InputError("namespace", shown, "is more than one", "submit one namespace at a time")
    if named:
        cluster.namespace = named.pop()


def _keep(
    cluster: Cluster,
    follower: Follower,
    verdict: Verdict,
    logs: str | None,
    open_store: OpenStore,
) -> None:
    """The post-mortem in S3, else on this machine; its failure never changes how the job ended."""
    target = logs or postmortem.output_uri(follower.record.job)
    if not follower.record.job:
        return
    for place in [target, str(LOCAL_LOGS)]:
        if place is None:
            continue
        try:
            folder = postmortem.keep(cluster, open_store(place), follower.record, verdict)
        except DarkroomError as error:
            say(f"warning: logs cannot be kept in {place}: {error}")
            continue
        say(f"logs: {place.rstrip('/')}/{folder}/report.md")
        return


def say(text: str) -> None:
    """One line for the person; standard error, as progress is."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
