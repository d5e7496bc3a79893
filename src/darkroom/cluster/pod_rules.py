"""Rules about every pod template in a manifest: quantities, devices, credentials, privileges.

The API server refuses wrong quantities and shares of a device; the rest is Darkroom's policy. It
walks the whole manifest, so it also sees submitters and plain Deployments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from darkroom.cluster.finding import Finding, Object, mapping, sequence

CREDENTIALS = frozenset(
    {
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "HF_TOKEN",
        "HUGGING_FACE_HUB_TOKEN",
        "RAY_AUTH_TOKEN",
        "WANDB_API_KEY",
    }
)

_QUANTITY = re.compile(r"([+-]?(?:\d+(?:\.\d*)?|\.\d+))([numkMGTPE]|[KMGTPE]i|[eE][+-]?\d+)?")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_MAX_EXPONENT = 100
_NATIVE = ("cpu", "memory", "ephemeral-storage")


def check(manifest: Object) -> Iterator[Finding]:
    """Findings about every pod in the manifest."""
    for path, pod in _pods(manifest, ""):
        yield from _check_pod(path, pod)


def quantity(value: Any) -> Decimal | None:
    """A Kubernetes quantity as an exact number: `500m`, `2`, `8Gi`; None for `8GB`, `4 cores`."""
    matched = None if isinstance(value, bool) else _QUANTITY.fullmatch(str(value))
    if matched is None:
        return None
    number, suffix = Decimal(matched[1]), matched[2] or ""
    if suffix in _BINARY:
        return number * Decimal(1024) ** _BINARY[suffix]
    exponent = _DECIMAL[suffix] if suffix in _DECIMAL else int(suffix[1:])
    # No Kubernetes quantity is as large, and Decimal would try.
    return number.scaleb(exponent) if abs(exponent) < _MAX_EXPONENT else None


def _pods(node: Any, path: str) -> Iterator[tuple[str, Object]]:
    """Pod specs, found by their list of containers."""
    if isinstance(node, dict):
        if isinstance(node.get("containers"), list):
            yield path, node
        for key, value in node.items():
            yield from _pods(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _pods(value, f"{path}[{index}]")


def _check_pod(path: str, pod: Object) -> Iterator[Finding]:
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(key) is True:
            yield Finding("host-access", f"{path}.{key}", "shares the node's own", "darkroom")
    for index, volume in enumerate(sequence(pod.get("volumes"))):
        if "hostPath" in mapping(volume):
            where = f"{path}.volumes[{index}].hostPath"
            yield Finding("host-access", where, "mounts a path of the node", "darkroom")
    yield from _check_security(f"{path}.securityContext", mapping(pod.get("securityContext")))
    for kind in ("initContainers", "containers"):
        for index, container in enumerate(sequence(pod.get(kind))):
            yield from _check_container(f"{path}.{kind}[{index}]", mapping(container))


def _check_container(path: str, container: Object) -> Iterator[Finding]:
    yield from _check_image(f"{path}.image", container.get("image"))
    yield from _check_security(f"{path}.securityContext", mapping(container.get("securityContext")))
    yield from _check_resources(f"{path}.resources", mapping(container.get("resources")))
    for item in sequence(container.get("env")):
        name = mapping(item).get("name")
        if name in CREDENTIALS and mapping(item).get("value"):
            problem = "is a credential in plain sight; take it from a Secret"
            yield Finding("static-credentials", f"{path}.env.{name}", problem, "darkroom")


def _check_image(path: str, image: Any) -> Iterator[Finding]:
    if not image or "@" in str(image):
        return
    _, colon, tag = str(image).rsplit("/", 1)[-1].partition(":")
    if not colon or tag == "latest":
        problem = f"{image!r} names no fixed version"
        yield Finding("image-tag-latest", path, problem, "darkroom")


def _check_security(path: str, context: Object) -> Iterator[Finding]:
    if context.get("privileged") is True:
        yield Finding("privileged", f"{path}.privileged", "gives the node away", "darkroom")
    if context.get("runAsUser") == 0:
        yield Finding("root-user", f"{path}.runAsUser", "is root", "darkroom")


def _check_resources(path: str, resources: Object) -> Iterator[Finding]:
    for kind in ("requests", "limits"):
        for name, value in mapping(resources.get(kind)).items():
            where = f"{path}.{kind}.{name}"
            amount = quantity(value)
            if amount is None:
                problem = f"{value!r} is no quantity; write 500m, 2, 8Gi or 8G"
                yield Finding("quantity", where, problem, "api")
            elif name not in _NATIVE and "/" in str(name) and amount != amount.to_integral_value():
                problem = f"{value!r} is a share; Kubernetes hands out whole devices"
                yield Finding("fractional-gpu", where, problem, "api")
