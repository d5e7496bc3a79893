"""The operator's rules about a RayClusterSpec, standing alone or inside a RayJob or RayService.

Follows ValidateRayClusterSpec of KubeRay 1.6.1, one function per concern. It leaves pods' own
fields to pod_rules and says nothing of what only Ray itself would refuse.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from darkroom.cluster.finding import Finding, Object, integer, mapping, sequence

AUTOSCALER_V2_ENV = "RAY_enable_autoscaler_v2"
FT_ANNOTATION = "ray.io/ft-enabled"
STORAGE_NAMESPACE_ANNOTATION = "ray.io/external-storage-namespace"

_RESOURCE_PARAMS = ("num-cpus", "num-gpus", "memory", "resources")
_LABEL_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_DNS_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_ACCOUNT_NAME = re.compile(r"[a-z].{0,49}")
_VERSION = re.compile(r"v?(\d+)\.(\d+)(?:\.(\d+))?")


def check(spec: Object, annotations: Object, path: str) -> Iterator[Finding]:
    """Every rule about a cluster's spec."""
    head = mapping(spec.get("headGroupSpec"))
    if not containers(head):
        yield Finding("no-containers", f"{path}.headGroupSpec", "has no container")
        return
    yield from _check_group("head", head, f"{path}.headGroupSpec")
    for index, group in enumerate(sequence(spec.get("workerGroupSpecs"))):
        yield from _check_worker_group(spec, mapping(group), f"{path}.workerGroupSpecs[{index}]")
    yield from _check_fault_tolerance(spec, annotations, path)
    yield from _check_autoscaler(spec, path)
    yield from _check_auth(spec, path)
    yield from _check_versions(spec, path)


def check_upgrade_strategy(cluster: Object) -> Iterator[Finding]:
    """Only a cluster that a person made may be recreated on change."""
    labels = mapping(mapping(cluster.get("metadata")).get("labels"))
    kind = mapping(mapping(cluster.get("spec")).get("upgradeStrategy")).get("type")
    if kind is not None and labels.get("ray.io/originated-from-crd") in ("RayJob", "RayService"):
        problem = "is not allowed on a cluster that a RayJob or RayService made"
        yield Finding("upgrade-strategy-owner", "spec.upgradeStrategy", problem)


def autoscales(spec: Object) -> bool:
    """In-tree autoscaling is on."""
    return spec.get("enableInTreeAutoscaling") is True


def autoscaler_version(spec: Object) -> str | None:
    """`v1` or `v2` when explicit. The operator takes nothing else for v2, whatever Ray runs."""
    version = mapping(spec.get("autoscalerOptions")).get("version")
    return version if isinstance(version, str) else None


def containers(group: Object) -> list[Object]:
    """Containers of a head or worker group's pod; the first is Ray's."""
    pod = mapping(mapping(group.get("template")).get("spec"))
    return [mapping(container) for container in sequence(pod.get("containers"))]


def head_environment(spec: Object) -> dict[str, Any]:
    """Name to literal value (None for references) of the Ray container of the head."""
    found = containers(mapping(spec.get("headGroupSpec")))
    env = sequence(found[0].get("env")) if found else ()
    return {str(mapping(item).get("name")): mapping(item).get("value") for item in env}


def parse_version(text: object) -> tuple[int, int, int] | None:
    """`2.60.0` as numbers, None when it is no version."""
    match = _VERSION.match(str(text or ""))
    return (int(match[1]), int(match[2]), int(match[3] or 0)) if match else None


def _check_group(name: str, group: Object, path: str) -> Iterator[Finding]:
    params = mapping(group.get("rayStartParams"))
    if group.get("resources") and any(params.get(key) for key in _RESOURCE_PARAMS):
        problem = f"group {name} gives resources here and in rayStartParams; use one"
        yield Finding("resources-twice", f"{path}.resources", problem)
    if "labels" in params:
        problem = "is not supported; use the group's top-level labels"
        yield Finding("ray-start-params-labels", f"{path}.rayStartParams.labels", problem)
    for key, value in mapping(group.get("labels")).items():
        if not _is_label_key(str(key)) or not _is_label_value(str(value)):
            problem = f"{key}={value} is not in Kubernetes label syntax"
            yield Finding("label-syntax", f"{path}.labels", problem)


def _check_worker_group(spec: Object, group: Object, path: str) -> Iterator[Finding]:
    name = str(group.get("groupName", ""))
    if not containers(group):
        yield Finding("no-containers", path, f"group {name!r} has no container")
        return
    yield from _check_replicas(group, path)
    yield from _check_group(name, group, path)
    yield from _check_idle_timeout(spec, group, path)
    if group.get("suspend") is True and autoscales(spec):
        problem = "a group cannot be suspended while autoscaling is on"
        yield Finding("suspend-autoscaling", f"{path}.suspend", problem)


def _check_replicas(group: Object, path: str) -> Iterator[Finding]:
    # What is left out has the CRD's defaults, 0 and no bound, before the operator sees it.
    low, high = integer(group.get("minReplicas")), integer(group.get("maxReplicas"))
    for key, value in (("minReplicas", low), ("maxReplicas", high)):
        if value is not None and value < 0:
            yield Finding("replicas-negative", f"{path}.{key}", f"{value} is negative")
    if low is not None and high is not None and low > high:
        yield Finding("replicas-order", f"{path}.minReplicas", f"{low} is above maxReplicas {high}")


def _check_idle_timeout(spec: Object, group: Object, path: str) -> Iterator[Finding]:
    seconds = integer(group.get("idleTimeoutSeconds"))
    if seconds is None:
        return
    if seconds < 0:
        yield Finding("idle-timeout-negative", f"{path}.idleTimeoutSeconds", f"{seconds} < 0")
    by_env = head_environment(spec).get(AUTOSCALER_V2_ENV) in ("1", "true")
    if not _is_autoscaler_v2(spec) and not by_env:
        problem = "needs enableInTreeAutoscaling and autoscalerOptions.version v2"
        yield Finding("idle-timeout-needs-autoscaler-v2", f"{path}.idleTimeoutSeconds", problem)


def _is_autoscaler_v2(spec: Object) -> bool:
    return autoscaler_version(spec) == "v2"


def _check_fault_tolerance(spec: Object, annotations: Object, path: str) -> Iterator[Finding]:
    options = spec.get("gcsFaultToleranceOptions")
    env = head_environment(spec)
    params = mapping(mapping(spec.get("headGroupSpec")).get("rayStartParams"))
    where = f"{path}.gcsFaultToleranceOptions"
    enabled = options is not None or str(annotations.get(FT_ANNOTATION, "")).lower() == "true"
    if options is not None and annotations.get(FT_ANNOTATION):
        yield Finding("fault-tolerance-twice", where, f"stands beside annotation {FT_ANNOTATION}")
    if not enabled and "RAY_REDIS_ADDRESS" in env:
        problem = "RAY_REDIS_ADDRESS on the head asks for fault tolerance without its options"
        yield Finding("redis-address-without-options", where, problem)
    if options is not None:
        given: list[str] = [name for name in ("REDIS_PASSWORD", "RAY_REDIS_ADDRESS") if name in env]
        given += ["redis-password"] if params.get("redis-password") else []
        given += [key for key in (STORAGE_NAMESPACE_ANNOTATION,) if annotations.get(key)]
        for name in given:
            yield Finding("redis-settings-twice", where, f"{name} is also set on the head")
    if params.get("redis-username") or "REDIS_USERNAME" in env:
        yield Finding("redis-username", where, "a Redis user belongs into these options only")


def _check_autoscaler(spec: Object, path: str) -> Iterator[Finding]:
    options = mapping(spec.get("autoscalerOptions"))
    seconds = integer(options.get("idleTimeoutSeconds"))
    where = f"{path}.autoscalerOptions"
    if seconds is not None and seconds < 0:
        yield Finding("idle-timeout-negative", f"{where}.idleTimeoutSeconds", f"{seconds} < 0")
    env = head_environment(spec)
    if not autoscales(spec):
        if env.get(AUTOSCALER_V2_ENV) in ("1", "true"):
            problem = f"{AUTOSCALER_V2_ENV} on the head needs enableInTreeAutoscaling"
            yield Finding("autoscaler-env-without-autoscaling", where, problem)
        return
    if "version" in options and AUTOSCALER_V2_ENV in env:
        problem = f"stands beside {AUTOSCALER_V2_ENV} on the head; use only this"
        yield Finding("autoscaler-version-twice", f"{where}.version", problem)
    yield from _check_service_account(spec, path)
    if _is_autoscaler_v2(spec):
        yield from _check_restart_policies(spec, path)


def _check_service_account(spec: Object, path: str) -> Iterator[Finding]:
    """The operator cuts the name (utils.CheckName), then runs the head under what is left."""
    pod = mapping(mapping(mapping(spec.get("headGroupSpec")).get("template")).get("spec"))
    name = str(pod.get("serviceAccountName") or "")
    if name and not _ACCOUNT_NAME.fullmatch(name):
        problem = f"{name!r} is changed by the operator; at most 50 characters, a letter first"
        where = f"{path}.headGroupSpec.template.spec.serviceAccountName"
        yield Finding("service-account-name", where, problem, "darkroom")


def _check_restart_policies(spec: Object, path: str) -> Iterator[Finding]:
    groups = [("headGroupSpec", spec.get("headGroupSpec"))]
    workers = sequence(spec.get("workerGroupSpecs"))
    groups += [(f"workerGroupSpecs[{index}]", group) for index, group in enumerate(workers)]
    for name, group in groups:
        pod = mapping(mapping(mapping(group).get("template")).get("spec"))
        if pod.get("restartPolicy", "Never") not in ("", "Never"):
            where = f"{path}.{name}.template.spec.restartPolicy"
            yield Finding("restart-policy-autoscaler-v2", where, "must be Never or unset with v2")


def _check_auth(spec: Object, path: str) -> Iterator[Finding]:
    auth = mapping(spec.get("authOptions"))
    by_kubernetes = auth.get("enableK8sTokenAuth") is True
    if auth.get("mode") != "token":
        if by_kubernetes:
            problem = "needs authOptions.mode token"
            yield Finding("k8s-auth-mode", f"{path}.authOptions.enableK8sTokenAuth", problem)
        return
    version = parse_version(spec.get("rayVersion"))
    if version is None or version < (2, 52, 0):
        problem = f"is {spec.get('rayVersion')!r}; token authentication needs 2.52.0 or later"
        yield Finding("auth-ray-version", f"{path}.rayVersion", problem)
    elif by_kubernetes and version < (2, 55, 0):
        problem = f"is {spec.get('rayVersion')!r}; enableK8sTokenAuth needs 2.55.0 or later"
        yield Finding("k8s-auth-ray-version", f"{path}.rayVersion", problem)
    if by_kubernetes and auth.get("secretName"):
        problem = "stands beside enableK8sTokenAuth"
        yield Finding("k8s-auth-secret", f"{path}.authOptions.secretName", problem)


def _check_versions(spec: Object, path: str) -> Iterator[Finding]:
    """Ours: what the operator guesses when it is not told, and guesses wrong."""
    if not spec.get("rayVersion"):
        problem = "is not set; the operator then chooses probes that need wget"
        yield Finding("ray-version-missing", f"{path}.rayVersion", problem, "darkroom")
    if autoscales(spec) and autoscaler_version(spec) is None:
        problem = "is not set; the operator then treats Ray's v2 autoscaler as v1"
        where = f"{path}.autoscalerOptions.version"
        yield Finding("autoscaler-version-missing", where, problem, "darkroom")
    if mapping(spec.get("authOptions")).get("mode") != "token":
        problem = "is not token: whoever reaches the dashboard runs code"
        yield Finding("auth-off", f"{path}.authOptions.mode", problem, "darkroom")


def _is_label_key(key: str) -> bool:
    prefix, slash, name = key.rpartition("/")
    if slash and not (len(prefix) <= 253 and _DNS_SUBDOMAIN.fullmatch(prefix)):
        return False
    return bool(_LABEL_NAME.fullmatch(name))


def _is_label_value(value: str) -> bool:
    return not value or bool(_LABEL_NAME.fullmatch(value))
