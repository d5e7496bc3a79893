"""The operator's rules about a RayService: its cluster, and how it is upgraded.

Follows ValidateRayServiceSpec of KubeRay 1.6.1. Rules of the cluster inside stand in
`cluster_rules.py`. What serveConfigV2 says is Serve's to judge.
"""

from __future__ import annotations

from collections.abc import Iterator

from darkroom.cluster import cluster_rules
from darkroom.cluster.finding import Finding, Object, integer, mapping

_INCREMENTAL = "NewClusterWithIncrementalUpgrade"
_UPGRADES = ("NewCluster", _INCREMENTAL, "None")


def check(service: Object) -> Iterator[Finding]:
    """Every rule about a RayService."""
    spec = mapping(service.get("spec"))
    cluster = mapping(spec.get("rayClusterConfig"))
    annotations = mapping(mapping(service.get("metadata")).get("annotations"))
    where = "spec.rayClusterConfig"
    yield from cluster_rules.check(cluster, annotations, where)
    if mapping(cluster.get("authOptions")).get("enableK8sTokenAuth") is True:
        path = f"{where}.authOptions.enableK8sTokenAuth"
        yield Finding("k8s-auth-rayservice", path, "is not supported for a RayService")
    head = mapping(mapping(cluster.get("headGroupSpec")).get("headService"))
    if mapping(head.get("metadata")).get("name"):
        path = f"{where}.headGroupSpec.headService.metadata.name"
        yield Finding("service-head-name", path, "must not be set: the operator moves its own")
    yield from _check_upgrade(spec, cluster)


def _check_upgrade(spec: Object, cluster: Object) -> Iterator[Finding]:
    if (integer(spec.get("rayClusterDeletionDelaySeconds")) or 0) < 0:
        yield Finding(
            "service-deletion-delay", "spec.rayClusterDeletionDelaySeconds", "is negative"
        )
    strategy = mapping(spec.get("upgradeStrategy"))
    kind = strategy.get("type")
    if kind is not None and kind not in _UPGRADES:
        problem = f"{kind!r} is none of {', '.join(_UPGRADES)}"
        yield Finding("service-upgrade-type", "spec.upgradeStrategy.type", problem)
    if kind == _INCREMENTAL:
        yield from _check_incremental(strategy, cluster)


def _check_incremental(strategy: Object, cluster: Object) -> Iterator[Finding]:
    """The operator looks at these only with its gate RayServiceIncrementalUpgrade on, which it is
    not by default; so they are ours."""
    where = "spec.upgradeStrategy.clusterUpgradeOptions"
    options = mapping(strategy.get("clusterUpgradeOptions"))
    if not cluster_rules.autoscales(cluster):
        problem = "needs the autoscaler"
        yield Finding(
            "incremental-needs-autoscaler", "spec.upgradeStrategy.type", problem, "darkroom"
        )
    if not options.get("gatewayClassName"):
        path = f"{where}.gatewayClassName"
        yield Finding("incremental-needs-gateway", path, "must name a GatewayClass", "darkroom")
    step, surge = integer(options.get("stepSizePercent")), integer(options.get("maxSurgePercent"))
    surge = 100 if surge is None else surge
    interval = integer(options.get("intervalSeconds"))
    valid = step is not None and 0 <= step <= 100 and 0 <= surge <= 100
    if step is None or not valid or interval is None or interval <= 0:
        problem = "needs percentages of 0 to 100, and intervalSeconds above 0"
        yield Finding("incremental-options", where, problem, "darkroom")
    elif step > surge:
        problem = f"is {step}, above maxSurgePercent {surge}"
        yield Finding("incremental-step", f"{where}.stepSizePercent", problem, "darkroom")
