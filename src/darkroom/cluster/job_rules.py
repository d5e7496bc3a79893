"""The operator's rules about a RayJob: where it runs, how it is submitted, retried and cleaned up.

Follows ValidateRayJobSpec of KubeRay 1.6.1 and the CRD's CEL rules on deletion. Rules of
the cluster inside stand in `cluster_rules.py`, of a queue in `queue_rules.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

from darkroom.cluster import cluster_rules, kubernetes_yaml
from darkroom.cluster.finding import (
    CLUSTER_SELECTOR_KEY,
    Finding,
    Object,
    integer,
    mapping,
    sequence,
)
from darkroom.errors import InputError

# The order in which parts may go: a part before the whole it belongs to.
_DELETION_ORDER = ("DeleteWorkers", "DeleteCluster", "DeleteSelf")
_CLUSTER_POLICIES = ("DeleteWorkers", "DeleteCluster")


def check(job: Object) -> Iterator[Finding]:
    """Every rule about a RayJob."""
    spec = mapping(job.get("spec"))
    yield from _check_place(spec)
    yield from _check_suspend(spec)
    yield from _check_submission(spec)
    yield from _check_limits(spec)
    yield from _check_deletion(spec)
    yield from _check_runtime_env(spec)
    cluster = spec.get("rayClusterSpec")
    if cluster is not None:
        annotations = mapping(mapping(job.get("metadata")).get("annotations"))
        yield from cluster_rules.check(mapping(cluster), annotations, "spec.rayClusterSpec")
        if mapping(mapping(cluster).get("authOptions")).get("enableK8sTokenAuth") is True:
            where = "spec.rayClusterSpec.authOptions.enableK8sTokenAuth"
            yield Finding("k8s-auth-rayjob", where, "is not supported for a RayJob")


def _check_place(spec: Object) -> Iterator[Finding]:
    selector = mapping(spec.get("clusterSelector"))
    if not selector and spec.get("rayClusterSpec") is None:
        problem = "one of rayClusterSpec and clusterSelector must be set"
        yield Finding("no-cluster", "spec", problem)
    if not selector:
        return
    if not selector.get(CLUSTER_SELECTOR_KEY):
        problem = f"names no cluster under {CLUSTER_SELECTOR_KEY}"
        yield Finding("cluster-selector-name", "spec.clusterSelector", problem)
    if spec.get("submissionMode") == "SidecarMode":
        problem = "SidecarMode needs a cluster of the job's own"
        yield Finding("cluster-selector-sidecar", "spec.submissionMode", problem)
    if (integer(spec.get("backoffLimit")) or 0) > 0:
        problem = "must be 0 with clusterSelector: every retry makes a cluster"
        yield Finding("cluster-selector-backoff", "spec.backoffLimit", problem)


def _check_suspend(spec: Object) -> Iterator[Finding]:
    if spec.get("suspend") is not True:
        return
    if spec.get("shutdownAfterJobFinishes") is not True:
        problem = "a job can be suspended only with shutdownAfterJobFinishes"
        yield Finding("suspend-needs-shutdown", "spec.suspend", problem)
    if mapping(spec.get("clusterSelector")):
        problem = "a job on a selected cluster cannot be suspended"
        yield Finding("suspend-cluster-selector", "spec.suspend", problem)


def _check_submission(spec: Object) -> Iterator[Finding]:
    mode = spec.get("submissionMode")
    if mode == "InteractiveMode" and (integer(spec.get("backoffLimit")) or 0) > 0:
        yield Finding("interactive-backoff", "spec.backoffLimit", "must be 0 in InteractiveMode")
    if mode != "SidecarMode":
        return
    for key in ("submitterPodTemplate", "submitterConfig"):
        if spec.get(key) is not None:
            yield Finding("sidecar-submitter", f"spec.{key}", "is not supported in SidecarMode")
    head = mapping(mapping(spec.get("rayClusterSpec")).get("headGroupSpec"))
    policy = mapping(mapping(head.get("template")).get("spec")).get("restartPolicy")
    if policy not in (None, "", "Never"):
        where = "spec.rayClusterSpec.headGroupSpec.template.spec.restartPolicy"
        yield Finding("sidecar-restart-policy", where, "must be Never or unset in SidecarMode")


def _check_limits(spec: Object) -> Iterator[Finding]:
    for key in ("activeDeadlineSeconds", "preRunningDeadlineSeconds"):
        seconds = integer(spec.get(key))
        if seconds is not None and seconds <= 0:
            yield Finding("deadline-positive", f"spec.{key}", f"{seconds} is not positive")
    if (integer(spec.get("backoffLimit")) or 0) < 0:
        yield Finding("backoff-negative", "spec.backoffLimit", "is negative")
    ttl = integer(spec.get("ttlSecondsAfterFinished")) or 0
    if ttl < 0:
        yield Finding("ttl-negative", "spec.ttlSecondsAfterFinished", f"{ttl} is negative")
    if ttl > 0 and spec.get("shutdownAfterJobFinishes") is not True:
        problem = "needs shutdownAfterJobFinishes"
        yield Finding("ttl-needs-shutdown", "spec.ttlSecondsAfterFinished", problem)


def _check_deletion(spec: Object) -> Iterator[Finding]:
    strategy = spec.get("deletionStrategy")
    if strategy is None:
        return
    where = "spec.deletionStrategy"
    rules = sequence(mapping(strategy).get("deletionRules"))
    legacy = [key for key in ("onSuccess", "onFailure") if mapping(strategy).get(key) is not None]
    if rules and spec.get("shutdownAfterJobFinishes") is True:
        problem = "excludes shutdownAfterJobFinishes"
        yield Finding("deletion-rules-and-shutdown", f"{where}.deletionRules", problem)
    if rules and legacy:
        problem = f"excludes {' and '.join(legacy)}"
        yield Finding("deletion-rules-and-legacy", f"{where}.deletionRules", problem)
    elif rules:
        yield from _check_deletion_rules(spec, f"{where}.deletionRules")
    elif len(legacy) < 2:
        problem = "needs deletionRules, or onSuccess and onFailure together"
        yield Finding("deletion-strategy-empty", where, problem)
    else:
        yield from _check_legacy_deletion(spec, where)


def _check_deletion_rules(spec: Object, where: str) -> Iterator[Finding]:
    times: dict[tuple[str, str], dict[str, int]] = {}
    for index, rule in enumerate(sequence(mapping(spec["deletionStrategy"]).get("deletionRules"))):
        policy = str(mapping(rule).get("policy"))
        condition = mapping(mapping(rule).get("condition"))
        path = f"{where}[{index}]"
        statuses = [k for k in ("jobStatus", "jobDeploymentStatus") if condition.get(k) is not None]
        seconds = integer(condition.get("ttlSeconds")) or 0
        if len(statuses) != 1:
            problem = "needs exactly one of jobStatus and jobDeploymentStatus"
            yield Finding("deletion-condition", f"{path}.condition", problem)
            continue
        if seconds < 0:
            yield Finding("deletion-ttl-negative", f"{path}.condition.ttlSeconds", f"{seconds} < 0")
            continue
        if refused := _refused_policy(spec, policy, path):
            yield refused
            continue
        known = times.setdefault((statuses[0], str(condition[statuses[0]])), {})
        if policy in known:
            problem = f"repeats {policy} for {condition[statuses[0]]}"
            yield Finding("deletion-duplicate", path, problem)
            continue
        known[policy] = seconds
    for (_, status), known in times.items():
        if not _is_ordered(known):
            problem = f"for {status} deletes a whole before its part: workers, cluster, then self"
            yield Finding("deletion-ttl-order", where, problem)


def _is_ordered(times: dict[str, int]) -> bool:
    ordered = [times[policy] for policy in _DELETION_ORDER if policy in times]
    return ordered == sorted(ordered)


def _refused_policy(spec: Object, policy: str, path: str) -> Finding | None:
    """A policy that this job may not have, whatever its condition."""
    if policy in _CLUSTER_POLICIES and mapping(spec.get("clusterSelector")):
        problem = f"{policy} is not this job's to do on a selected cluster"
        return Finding("cluster-selector-deletion", path, problem)
    if policy == "DeleteWorkers" and cluster_rules.autoscales(mapping(spec.get("rayClusterSpec"))):
        return Finding("delete-workers-autoscaling", path, "DeleteWorkers excludes autoscaling")
    return None


def _check_legacy_deletion(spec: Object, where: str) -> Iterator[Finding]:
    for key in ("onSuccess", "onFailure"):
        policy = mapping(mapping(spec["deletionStrategy"])[key]).get("policy")
        path = f"{where}.{key}"
        if policy is None:
            yield Finding("deletion-policy-missing", path, "has no policy")
        elif refused := _refused_policy(spec, str(policy), path):
            yield refused
        elif policy == "DeleteNone" and spec.get("shutdownAfterJobFinishes") is True:
            problem = "DeleteNone contradicts shutdownAfterJobFinishes"
            yield Finding("delete-none-and-shutdown", path, problem)


def _check_runtime_env(spec: Object) -> Iterator[Finding]:
    text = spec.get("runtimeEnvYAML")
    if not text:
        return
    try:
        documents = kubernetes_yaml.load_all(str(text), "runtimeEnvYAML")
    except InputError as error:
        yield Finding("runtime-env-yaml", "spec.runtimeEnvYAML", error.problem)
        return
    if documents and not isinstance(documents[0], dict):
        yield Finding("runtime-env-yaml", "spec.runtimeEnvYAML", "is not a YAML mapping")
    elif spec.get("submissionMode", "K8sJobMode") != "HTTPMode" and _has_shell_syntax(str(text)):
        problem = "`$` and backticks in it are run by the submitter's shell"
        yield Finding("runtime-env-shell", "spec.runtimeEnvYAML", problem, "darkroom")


def _has_shell_syntax(text: str) -> bool:
    return "$" in text or "`" in text
