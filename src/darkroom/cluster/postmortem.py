"""Keeps what a job left behind where it outlives the cluster: under the run's S3 prefix.

    <output>/logs/<job>-<uid>/report.md            how it ended and why, for a person
    <output>/logs/<job>-<uid>/driver.log           what the driver wrote
    <output>/logs/<job>-<uid>/job.yaml, events.yaml
    <output>/logs/<job>-<uid>/pods/<pod>/<container>.log, ray.log

Of a service that cannot be: the same without a driver, and service.yaml.

The store is given, so this knows nothing of S3. Nothing here may hide how the job ended: what
cannot be collected is said in the report.
"""

from __future__ import annotations

import io
import re
import shlex
from collections.abc import Iterator
from typing import Any, Protocol

from ruamel.yaml import YAML

from darkroom.cluster.client import ClusterError, Object, RefusedError
from darkroom.cluster.following import Record, Verdict
from darkroom.messages import masked

# The tails of the files that Ray's own processes and tasks wrote; pod logs do not have them.
_RAY_LOGS = (
    "cd /tmp/ray/session_latest/logs 2>/dev/null && "
    "tail -c 65536 worker-*.err worker-*.out raylet.err raylet.out monitor.* 2>/dev/null"
)


class Store(Protocol):
    """Where the files go."""

    def put(self, key: str, data: bytes) -> object: ...


class LoggedCluster(Protocol):
    """What collecting needs of a cluster."""

    def events(self) -> list[Object]: ...
    def log(self, pod: str, container: str, *, previous: bool = False) -> str: ...
    def run(self, pod: str, container: str, command: list[str]) -> str: ...


def output_uri(job: Object) -> str | None:
    """Where the job publishes: `--output` of its entrypoint, the submitter's variables put in."""
    spec = job.get("spec") or {}
    try:
        words = shlex.split(str(spec.get("entrypoint", "")))
    except ValueError:
        return None
    for index, word in enumerate(words):
        if word == "--output" and index + 1 < len(words):
            return _expand(words[index + 1], _environment(spec))
        if word.startswith("--output="):
            return _expand(word.removeprefix("--output="), _environment(spec))
    return None


def prefix(job: Object) -> str:
    """The folder of this attempt; the uid tells apart jobs of one name."""
    metadata = job["metadata"]
    return f"logs/{metadata['name']}-{str(metadata.get('uid', ''))[:8]}"


def keep(cluster: LoggedCluster, store: Store, record: Record, verdict: Verdict) -> str:
    """Write everything; the folder's key, relative to the store's root."""
    folder = prefix(record.followed)
    missing: list[str] = []
    for name, text in _collect(cluster, record, missing):
        store.put(f"{folder}/{name}", masked(text).encode())
    store.put(f"{folder}/report.md", masked(_report(record, verdict, missing)).encode())
    return folder


def _collect(
    cluster: LoggedCluster, record: Record, missing: list[str]
) -> Iterator[tuple[str, str]]:
    if record.followed.get("kind") == "RayService":
        yield "service.yaml", _yaml(record.followed)
    else:
        yield "driver.log", "\n".join(record.log) + "\n"
        yield "job.yaml", _yaml(record.followed)
    try:
        names = {*record.pods, record.followed["metadata"]["name"]}
        events = [e for e in cluster.events() if _is_about(e, names, record.clusters)]
        yield "events.yaml", _yaml(events)
    except (ClusterError, RefusedError) as error:
        missing.append(f"events: {error}")
    for name, pod in sorted(record.pods.items()):
        for container in _container_names(pod):
            try:
                yield from _container_logs(cluster, name, container)
            except (ClusterError, RefusedError) as error:
                missing.append(f"pod {name}, container {container}: {error}")


def _container_logs(cluster: LoggedCluster, pod: str, container: str) -> Iterator[tuple[str, str]]:
    for previous, suffix in ((False, ""), (True, ".previous")):
        if text := cluster.log(pod, container, previous=previous):
            yield f"pods/{pod}/{container}{suffix}.log", text
    is_ray = container in ("ray-head", "ray-worker")
    if is_ray and (text := cluster.run(pod, container, ["bash", "-c", _RAY_LOGS])):
        yield f"pods/{pod}/ray.log", text


def _report(record: Record, verdict: Verdict, missing: list[str]) -> str:
    status = record.followed.get("status") or {}
    lines = [f"# {record.followed['metadata']['name']}: {verdict.summary}", ""]
    lines += [f"- phases: {' -> '.join(record.phases)}"]
    for key in ("reason", "jobStatus", "startTime", "endTime"):
        if status.get(key):
            lines.append(f"- {key}: {status[key]}")
    if record.clusters:
        lines.append(f"- RayClusters: {', '.join(record.clusters)}")
    lines += [f"- seen: {cause}" for cause in record.causes]
    lines += [f"- not kept: {text}" for text in missing]
    tail = "\n".join(record.log[-60:])
    return "\n".join([*lines, "", "```", status.get("message") or "", tail, "```", ""])


def _is_about(event: Object, names: set[str], clusters: list[str]) -> bool:
    about = str((event.get("involvedObject") or {}).get("name", ""))
    return about in names or any(about.startswith(cluster) for cluster in clusters)


def _container_names(pod: Object) -> list[str]:
    spec = pod.get("spec") or {}
    found = [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
    return [str(container["name"]) for container in found]


def _environment(spec: Object) -> dict[str, str]:
    template = (spec.get("submitterPodTemplate") or {}).get("spec") or {}
    containers = template.get("containers") or [{}]
    env = containers[0].get("env") or []
    return {item["name"]: item["value"] for item in env if item.get("value") is not None}


def _expand(text: str, environment: dict[str, str]) -> str:
    """As the kubelet does: `$(NAME)` is a variable, `$$` a dollar."""

    def one(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return environment.get(match[1], match[0])

    return re.sub(r"\$\$|\$\(([^)]*)\)", one, text)


def _yaml(value: Any) -> str:
    writer = YAML(typ="safe")
    writer.default_flow_style = False
    buffer = io.StringIO()
    writer.dump(value, buffer)
    return buffer.getvalue()
