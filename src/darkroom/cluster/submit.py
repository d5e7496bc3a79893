"""`darkroom submit`: check manifests, apply them, follow what runs, keep what it left behind.

A RayJob is followed to its end, a RayService until it is ready. Exit codes: 0 succeeded or ready, 1
failed, 2 refused before anything was applied. Ctrl-C leaves it running and says how to come back.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from darkroom.cluster import postmortem, scheduled
from darkroom.cluster.client import Cluster, Object
from darkroom.cluster.finding import label
from darkroom.cluster.follow_job import JobFollower
from darkroom.cluster.follow_service import ServiceFollower
from darkroom.cluster.following import PENDING_TIMEOUT_SECONDS, Follower, Verdict
from darkroom.cluster.manifests import (
    FOLLOWED,
    check_dry_run,
    check_rules,
    in_order,
    read_manifests,
)
from darkroom.errors import DarkroomError, InputError

LOCAL_LOGS = Path(".darkroom") / "logs"
_FOLLOWERS: dict[str, type[Follower]] = {"RayJob": JobFollower, "RayService": ServiceFollower}

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
    force_conflicts: bool = False,
    open_store: OpenStore,
) -> int:
    """Run what `sources` have, one after the other; the first that fails ends it.

    `logs` is where post-mortems go instead of below each job's output; `open_store` opens a URI.
    `for_job` is the Job, NAME/UID, of a schedule that this is a run of (see `scheduled`).
    `force_conflicts` takes over fields that others have written.
    Errors: InputError (exit 2) when something is refused.
    """
    objects = read_manifests(sources)
    if for_job:
        objects = [scheduled.run_of(objects, scheduled.Owner.parse(for_job))]
    for warning in check_rules(objects):
        say(f"warning: {warning}")
    cluster = Cluster(namespace, context, force_conflicts=force_conflicts)
    _take_namespace(cluster, objects, namespace)
    if for_job:
        return _run_of_schedule(cluster, objects[0], logs, open_store)
    begun = check_dry_run(cluster, objects)
    name = ""
    for item in in_order(objects):
        note = begun.get(label(item))
        name = cluster.apply(item, force=note is not None)["metadata"]["name"]
        say(note or f"applied {item['kind']}/{name} in {cluster.namespace}")
        if follow and item["kind"] in FOLLOWED:
            code = follow_until_the_end(
                cluster,
                f"{item['kind'].lower()}/{name}",
                logs,
                open_store,
                pending_timeout_seconds=pending_timeout_seconds,
            )
            if code:
                return code
    if not follow:
        say(_command(cluster, "follow", name))
    return 0


def follow_until_the_end(
    cluster: Cluster,
    named: str,
    logs: str | None,
    open_store: OpenStore,
    *,
    pending_timeout_seconds: float = PENDING_TIMEOUT_SECONDS,
) -> int:
    """Follow a job or service that is there. Errors: InputError when there is none."""
    kind, name = _find(cluster, "follow", named)
    follower = _FOLLOWERS[kind](cluster, name, say, pending_timeout_seconds=pending_timeout_seconds)
    return _follow(cluster, follower, logs, open_store)


def _run_of_schedule(cluster: Cluster, job: Object, logs: str | None, open_store: OpenStore) -> int:
    """As long as the RayJob lives, so does this: a policy on runs that overlap counts on it."""
    name = job["metadata"]["name"]
    made = scheduled.start(cluster, job)
    say(f"{'made' if made else 'found'} RayJob/{name} in {cluster.namespace}")
    follower = JobFollower(cluster, name, say, give_up=False)
    return _follow(cluster, follower, logs, open_store)


def _follow(cluster: Cluster, follower: Follower, logs: str | None, open_store: OpenStore) -> int:
    name, named = follower.name, f"{follower.kind.lower()}/{follower.name}"
    try:
        verdict = follower.run()
    except Exception:
        raise
    except BaseException:  # Ctrl-C, or the signal that the command line makes of it
        say(f"\n{name} goes on. Come back:  {_command(cluster, 'follow', named)}")
        say(f"Stop it:  {_command(cluster, 'cancel', named)}")
        raise
    # A service that is ready has left nothing behind.
    if follower.kind == "RayJob" or verdict.exit_code:
        _keep(cluster, follower, verdict, logs, open_store)
    say(f"== {name}: {verdict.summary}")
    return verdict.exit_code


def cancel(cluster: Cluster, named: str) -> int:
    """Delete the job or service, and with it the cluster that it made."""
    kind, name = _find(cluster, "cancel", named)
    cluster.delete("ray.io/v1", kind, name)
    say(f"cancelled {name}")
    return 0


def _find(cluster: Cluster, option: str, named: str) -> tuple[str, str]:
    """Kind and name of NAME, rayjob/NAME or rayservice/NAME. Errors: InputError."""
    prefix, slash, name = named.rpartition("/")
    kinds = [kind for kind in FOLLOWED if not slash or kind.lower() == prefix.lower()]
    found = [kind for kind in kinds if cluster.get("ray.io/v1", kind, name) is not None]
    if len(found) == 1:
        return found[0], name
    if found:
        problem = f"is a {' and a '.join(found)} in {cluster.namespace}"
        remedy = f"say {' or '.join(f'{kind.lower()}/{name}' for kind in found)}"
        raise InputError(option, named, problem, remedy)
    wanted = " or ".join(kinds or FOLLOWED)
    remedy = f"`kubectl -n {cluster.namespace} get rayjobs,rayservices` lists them"
    raise InputError(option, named, f"no such {wanted} in {cluster.namespace}", remedy)


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
    target = logs or postmortem.output_uri(follower.record.followed)
    if not follower.record.followed:
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
