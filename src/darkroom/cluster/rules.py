"""What the KubeRay operator, or the API server, would refuse of a manifest, said beforehand.

`check_manifest` takes a manifest as plain data and returns findings; an empty list is a pass. It
is pure: no Kubernetes client, no cluster, no Darkroom job. The rules are KubeRay 1.6's; their names
are shared with the charts' `_validate.tpl`, and tests/fixtures/kuberay_rules holds both and the
operator's own Go validation to the same verdicts. Schema errors (unknown fields, wrong types) are
left to the API server's dry-run.

A finding's source says who would refuse: `operator` marks the object ValidationFailed after it was
accepted, `api` refuses it at once, `darkroom` is our own policy, which others may break on purpose.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Source = Literal["operator", "api", "darkroom"]
Object = Mapping[str, Any]

MAX_CLUSTER_NAME = 53
MAX_JOB_NAME = 47
CLUSTER_SELECTOR_KEY = "ray.io/cluster"

_DNS1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


@dataclass(frozen=True)
class Finding:
    """One broken rule: its name, where, what, and who would refuse."""

    rule: str
    path: str
    problem: str
    source: Source = "operator"

    def __str__(self) -> str:
        return f"[{self.rule}] {self.path}: {self.problem}"


def check_manifest(manifest: Object) -> list[Finding]:
    """Findings about one manifest; kinds without rules have none."""
    from darkroom.cluster import cluster_rules, job_rules, pod_rules, queue_rules

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


def mapping(value: Any) -> Object:
    """The value if it is a mapping, else an empty one: absent and null read alike."""
    return value if isinstance(value, Mapping) else {}


def sequence(value: Any) -> Sequence[Any]:
    """The value if it is a list, else an empty one."""
    return value if isinstance(value, Sequence) and not isinstance(value, str) else ()


def label(manifest: Object) -> str:
    """`RayJob/train`; a name that the server is still to choose ends in `*`."""
    metadata = manifest["metadata"]
    return f"{manifest['kind']}/{metadata.get('name') or metadata['generateName'] + '*'}"


def integer(value: Any) -> int | None:
    """The value if it is a whole number, as Helm's `1.2096e+06` is too; a boolean is none."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
