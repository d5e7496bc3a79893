"""An empty cluster on paper: what was applied so far, and what an object names that is not there.

It knows which objects name others by which fields, and what the charts of other projects bring. It
says nothing of whether a pod would run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Object = Mapping[str, Any]
Name = tuple[str, str, str]
"""Kind, namespace (empty for cluster-scoped), name."""

BUILT_IN = {"", "apps", "batch", "networking.k8s.io", "policy", "rbac.authorization.k8s.io"}
BUILT_IN |= {"scheduling.k8s.io", "storage.k8s.io", "admissionregistration.k8s.io"}
# What a chart of another project brings: the groups of its CRDs.
CHARTS = {
    "kuberay-operator": {"ray.io"},
    "kueue": {"kueue.x-k8s.io"},
    "kube-prometheus-stack": {"monitoring.coreos.com"},
}
CLUSTER_SCOPED = {"Namespace", "PriorityClass", "ClusterQueue", "ResourceFlavor"}
CLUSTER_SCOPED |= {"MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"}
RESTRICTED = ("pod-security.kubernetes.io/enforce", "restricted")


@dataclass
class Cluster:
    """What there is, as far as it was applied."""

    groups: set[str] = field(default_factory=lambda: set(BUILT_IN))
    objects: dict[Name, Object] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    """One line for everything that was named before it was there."""

    def apply(self, objects: Iterable[Object], step: str, namespace: str = "") -> None:
        """Apply together what stands in one step; `namespace` is for objects that name none."""
        placed = [(name_of(item, namespace), item) for item in objects]
        made = dict(placed)
        for name, item in placed:
            made |= {other: {} for other in made_by_operators(name, item)}
        known = self.objects | made
        for name, item in placed:
            for wanted in self._wants(name, item, known):
                self.missing.append(f"{step}: {name[0]} {name[2]} names {wanted}")
        self.objects = known

    def install(self, chart: str, step: str, namespace: str) -> None:
        """Install the chart of another project."""
        if ("Namespace", "", namespace) not in self.objects:
            self.missing.append(f"{step}: chart {chart} names Namespace {namespace}")
        self.groups |= CHARTS[chart]

    def make_namespace(self, name: str, labels: Mapping[str, str] | None = None) -> None:
        """Make a namespace, if it is not there."""
        item = {"metadata": {"name": name, "labels": dict(labels or {})}}
        self.objects.setdefault(("Namespace", "", name), item)

    def labels_of(self, namespace: str) -> Mapping[str, str]:
        found = self.objects.get(("Namespace", "", namespace), {})
        labels: Mapping[str, str] = (found.get("metadata") or {}).get("labels") or {}
        return labels

    def _wants(self, name: Name, item: Object, known: Mapping[Name, Object]) -> Iterator[str]:
        group = item["apiVersion"].rpartition("/")[0]
        if group not in self.groups:
            yield f"the kind of {group}"
        if name[1] and ("Namespace", "", name[1]) not in known:
            yield f"Namespace {name[1]}"
        for wanted in dict.fromkeys(references(name, item)):
            if wanted not in known and wanted[2] not in ("default", "kube-root-ca.crt"):
                yield " ".join(part for part in wanted if part)


def name_of(item: Object, namespace: str = "") -> Name:
    kind, metadata = item["kind"], item["metadata"]
    own = "" if kind in CLUSTER_SCOPED else metadata.get("namespace") or namespace
    return kind, own, metadata["name"]


def made_by_operators(name: Name, item: Object) -> Iterator[Name]:
    """KubeRay makes a cluster's token."""
    spec = item.get("spec") or {}
    auth = (spec.get("rayClusterSpec") or spec).get("authOptions") if name[0] != "Secret" else None
    if auth and auth.get("mode") == "token" and not auth.get("secretName"):
        yield "Secret", name[1], name[2]


def references(name: Name, item: Object) -> Iterator[Name]:
    """Every object that this one names."""
    kind, namespace, _ = name
    labels = item["metadata"].get("labels") or {}
    if queue := labels.get("kueue.x-k8s.io/queue-name"):
        yield "LocalQueue", namespace, queue
    spec = item.get("spec") or {}
    if kind == "LocalQueue":
        yield "ClusterQueue", "", spec["clusterQueue"]
    if kind == "ClusterQueue":
        for group in spec["resourceGroups"]:
            yield from (("ResourceFlavor", "", flavor["name"]) for flavor in group["flavors"])
    if cluster := (spec.get("clusterSelector") or {}).get("ray.io/cluster"):
        yield "RayCluster", namespace, cluster
    for source in _sources(spec):
        yield source["kind"], source.get("namespace") or namespace, source["name"]
    for values in spec.get("valuesFrom") or []:
        if not values.get("optional"):
            yield values["kind"], namespace, values["name"]
    if kind != "Application":  # its values are the chart's business
        yield from _of_pods(namespace, item)


def _sources(spec: Object) -> Iterator[Object]:
    """Where Flux's Kustomizations and HelmReleases take their files from."""
    if "sourceRef" in spec:
        yield spec["sourceRef"]
    chart = spec.get("chart")
    if isinstance(chart, Mapping) and "sourceRef" in chart["spec"]:
        yield chart["spec"]["sourceRef"]


# The field, what it names, and whether it holds the name itself or an object with one.
_PLAIN = {
    "priorityClassName": "PriorityClass",
    "runtimeClassName": "RuntimeClass",
    "storageClassName": "StorageClass",
    "serviceAccountName": "ServiceAccount",
    "secretName": "Secret",
}
_NAMED = {
    "secretKeyRef": "Secret",
    "secretRef": "Secret",
    "configMapKeyRef": "ConfigMap",
    "configMapRef": "ConfigMap",
    "configMap": "ConfigMap",
}


def _of_pods(namespace: str, node: Any) -> Iterator[Name]:
    if isinstance(node, list):
        for item in node:
            yield from _of_pods(namespace, item)
    if not isinstance(node, Mapping):
        return
    for key, value in node.items():
        if key in _PLAIN and isinstance(value, str) and value:
            own = (
                ""
                if key in ("priorityClassName", "runtimeClassName", "storageClassName")
                else namespace
            )
            yield _PLAIN[key], own, value
        elif key in _NAMED and isinstance(value, Mapping) and value.get("name"):
            if not value.get("optional"):
                yield _NAMED[key], namespace, value["name"]
        elif key == "imagePullSecrets":
            yield from (("Secret", namespace, secret["name"]) for secret in value)
        else:
            yield from _of_pods(namespace, value)


def runs_pods(item: Object) -> bool:
    """Pods come of it, directly or by an operator."""
    kinds = ("Pod", "Job", "StatefulSet", "Deployment", "RayCluster", "RayJob", "RayService")
    return item.get("kind") in kinds
