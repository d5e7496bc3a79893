"""What the KubeRay operator, or the API server, would refuse of a manifest, said beforehand.

`check_manifest` takes a manifest as plain data and returns findings; an empty list is a pass. It
is pure: no Kubernetes client, no cluster, no Darkroom job. The rules are KubeRay 1.6's; their names
are shared with the charts' `_validate.tpl`, and tests/fixtures/kuberay_rules holds both and the
operator's own Go validation to the same verdicts. Schema errors (unknown fields, wrong types) are
left to the API server's dry-run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from darkroom.cluster import cluster_rules, job_rules, pod_rules, queue_rules, service_rules
from darkroom.cluster.finding import Finding, Object, mapping

MAX_CLUSTER_NAME = 53
MAX_JOB_NAME = 47
MAX_SERVICE_NAME = 47

_DNS1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


def check_manifest(manifest: Object) -> list[Finding]:
    """Findings about one manifest; kinds without rules have none."""
    kind = manifest.get("kind")
    spec = mapping(manifest.get("spec"))
    annotations = mapping(mapping(manifest.get("metadata")).get("annotations"))
    findings: list[Finding] = []
    if kind == "RayCluster":
        findings += check_name(manifest, MAX_CLUSTER_NAME)
        findings += cluster_rules.check(spec, annotations, "spec")
        findings += cluster_rules.check_upgrade_strategy(manifest)
    elif kind == "RayJob":
        findings += check_name(manifest, MAX_JOB_NAME)
        findings += job_rules.check(manifest)
    elif kind == "RayService":
        findings += check_name(manifest, MAX_SERVICE_NAME)
        findings += service_rules.check(manifest)
    if kind in ("RayCluster", "RayJob"):
        findings += queue_rules.check(manifest)
    findings += pod_rules.check(manifest)
    return findings


def check_name(manifest: Object, limit: int) -> Iterator[Finding]:
    """The operator appends to names, so they are shorter than Kubernetes' own limit."""
    metadata = mapping(manifest.get("metadata"))
    name = str(metadata.get("name") or "")
    if not name and metadata.get("generateName"):
        return
    if len(name) > limit:
        yield Finding("name-length", "metadata.name", f"{name!r} has more than {limit} characters")
    if not _DNS1035.fullmatch(name):
        problem = f"{name!r} must be lower case letters, digits and '-', starting with a letter"
        yield Finding("name-dns1035", "metadata.name", problem)
