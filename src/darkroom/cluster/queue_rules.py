"""What Kueue would refuse of a RayJob or RayCluster with a queue's label, or let wait for ever.

Follows the webhooks of Kueue 0.19.2 and the Workload that its controller makes: one pod set for the
head, one for each worker group and one for a job's submitter. tests/charts holds these rules to
that source. Kueue leaves an object without the label alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from darkroom.cluster.finding import Finding, Object, Source, mapping, sequence

QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
LONGEST_RUN_LABEL = "kueue.x-k8s.io/max-exec-time-seconds"
ELASTIC_ANNOTATION = "kueue.x-k8s.io/elastic-job"
ELASTIC_GATE = {"name": "kueue.x-k8s.io/elastic-job"}
MULTIKUEUE = "kueue.x-k8s.io/multikueue"
MAX_POD_SETS = 18

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def check(manifest: Object) -> Iterator[Finding]:
    """Every rule about a queued RayJob or RayCluster."""
    labels = mapping(mapping(manifest.get("metadata")).get("labels"))
    spec = mapping(manifest.get("spec"))
    yield from _check_labels(labels)
    if not labels.get(QUEUE_LABEL):
        return
    if manifest.get("kind") == "RayCluster":
        yield from _check_groups(spec, "spec", taken={"head"})
        yield from _check_elastic_cluster(manifest, spec)
    elif mapping(spec.get("clusterSelector")):
        # Alone it is no error to Kueue, which then leaves the job alone.
        source: Source = "darkroom" if spec.get("rayClusterSpec") is None else "api"
        problem = "a queued job needs a cluster of its own"
        yield Finding("kueue-needs-own-cluster", "spec.clusterSelector", problem, source)
    else:
        yield from _check_job(manifest, spec)


def _check_job(job: Object, spec: Object) -> Iterator[Finding]:
    if spec.get("shutdownAfterJobFinishes") is not True:
        problem = "must be true for a queued job: quota comes back when the cluster goes"
        yield Finding("kueue-needs-shutdown", "spec.shutdownAfterJobFinishes", problem, "api")
    cluster, path = mapping(spec.get("rayClusterSpec")), "spec.rayClusterSpec"
    submits = spec.get("submissionMode", "K8sJobMode") == "K8sJobMode"
    yield from _check_groups(cluster, path, taken={"head", "submitter"} if submits else {"head"})
    if _autoscales(cluster) and not _is_elastic(job):
        yield _autoscaling_finding(path)


def _check_labels(labels: Object) -> Iterator[Finding]:
    queue, longest = labels.get(QUEUE_LABEL), labels.get(LONGEST_RUN_LABEL)
    if queue is not None and (len(str(queue)) > 253 or not _SUBDOMAIN.fullmatch(str(queue))):
        problem = f"{queue!r} can be no queue's name: lower case letters, digits, '-' and '.'"
        yield Finding("kueue-queue-name", f"metadata.labels[{QUEUE_LABEL}]", problem, "api")
    if longest is not None and not re.fullmatch(r"\+?0*[1-9][0-9]*", str(longest)):
        problem = f"{longest!r} is not a positive number of seconds"
        where = f"metadata.labels[{LONGEST_RUN_LABEL}]"
        yield Finding("kueue-max-exec-time", where, problem, "api")


def _check_groups(cluster: Object, path: str, *, taken: set[str]) -> Iterator[Finding]:
    """Names and number of pod sets; those in `taken` are not a worker group's."""
    groups = sequence(cluster.get("workerGroupSpecs"))
    where, limit = f"{path}.workerGroupSpecs", MAX_POD_SETS - len(taken)
    if len(groups) > limit:
        problem = f"has {len(groups)} groups, Kueue admits {limit} here"
        yield Finding("kueue-worker-groups", where, problem, "api")
    for index, group in enumerate(groups):
        name = str(mapping(group).get("groupName", ""))
        if name in taken:
            problem = f"{name!r} is the name of Kueue's own pod set"
            yield Finding("kueue-group-name", f"{where}[{index}].groupName", problem, "api")


def _check_elastic_cluster(manifest: Object, spec: Object) -> Iterator[Finding]:
    if not _is_elastic(manifest):
        if _autoscales(spec):
            yield _autoscaling_finding("spec")
        return
    if _autoscales(spec) and spec.get("managedBy") == MULTIKUEUE:
        problem = "MultiKueue takes no cluster that scales itself"
        yield Finding("kueue-multikueue-autoscaling", "spec.managedBy", problem, "api")
    workers = sequence(spec.get("workerGroupSpecs"))
    groups = {f"workerGroupSpecs[{index}]": group for index, group in enumerate(workers)}
    for name, group in {"headGroupSpec": spec.get("headGroupSpec"), **groups}.items():
        pod = mapping(mapping(mapping(group).get("template")).get("spec"))
        if ELASTIC_GATE not in sequence(pod.get("schedulingGates")):
            # Kueue adds it at creation only; an update that lacks it is refused.
            problem = f"lacks {ELASTIC_GATE['name']}, without which no later change is taken"
            where = f"spec.{name}.template.spec.schedulingGates"
            yield Finding("kueue-scheduling-gate", where, problem, "api")


def _autoscaling_finding(path: str) -> Finding:
    problem = f'needs the annotation {ELASTIC_ANNOTATION}: "true" in a queue'
    return Finding("kueue-autoscaling", f"{path}.enableInTreeAutoscaling", problem, "api")


def _autoscales(cluster: Object) -> bool:
    return cluster.get("enableInTreeAutoscaling") is True


def _is_elastic(manifest: Object) -> bool:
    annotations = mapping(mapping(manifest.get("metadata")).get("annotations"))
    return annotations.get(ELASTIC_ANNOTATION) == "true"
