"""Reads what `darkroom submit` is given: files, a kustomization, standard input; and checks it.

Checks come in two steps, both before anything is applied: the operator's rules, then the API
server's dry-run. A finding of our own policy is a warning.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from darkroom.cluster import kubernetes_yaml
from darkroom.cluster.begun import check_unchanged, has_begun
from darkroom.cluster.finding import Finding, label
from darkroom.cluster.rules import check_manifest
from darkroom.errors import InputError

Object = dict[str, Any]
FOLLOWED = ("RayJob", "RayService")
"""What is submitted and followed; everything else is what these need."""


class Applier(Protocol):
    """What the dry-run needs of a cluster."""

    namespace: str

    def apply(self, manifest: Object, *, dry_run: bool = False, force: bool = False) -> Object: ...
    def get(self, api_version: str, kind: str, name: str) -> Object | None: ...


def read_manifests(sources: Sequence[str]) -> list[Object]:
    """Objects of every source: a YAML file, a folder with a kustomization, `-` for standard input.

    Errors: InputError naming the source.
    """
    if not sources:
        raise InputError("manifest", None, "nothing to submit", "name a file, a folder or -")
    found = [item for source in sources for item in _read(source)]
    if not any(item["kind"] in FOLLOWED for item in found):
        kinds = ", ".join(sorted({item["kind"] for item in found})) or "nothing"
        remedy = "submit runs RayJobs and RayServices"
        raise InputError("manifest", kinds, "has no RayJob and no RayService", remedy)
    return found


def _read(source: str) -> list[Object]:
    if source == "-":
        return parse("standard input", sys.stdin.buffer.read())
    path = Path(os.path.expanduser(source))  # noqa: PTH111 - Path raises where there is no home
    if path.is_dir():
        return parse(source, _kustomize(path))
    try:
        return parse(source, path.read_bytes())
    except OSError as error:
        raise InputError("manifest", source, f"cannot be read: {error.strerror}") from None


def parse(source: str, data: bytes) -> list[Object]:
    """The documents of a YAML or JSON text; lists of objects are taken apart."""
    text = kubernetes_yaml.decode(data, source)
    objects: list[Object] = []
    for document in kubernetes_yaml.load_all(text, source):
        objects += _flat(document)
    for item in objects:
        _check_shape(source, item)
    return objects


def _flat(document: Any) -> list[Any]:
    """What a list holds, lists within lists too. The API server's own lists (RayJobList) leave out
    the kind of their items."""
    items = document.get("items") if isinstance(document, dict) else None
    if not isinstance(items, list):
        return [document]
    kind, version = document.get("kind"), document.get("apiVersion")
    if isinstance(kind, str) and kind.endswith("List") and kind != "List":
        of_list = {"apiVersion": version, "kind": kind.removesuffix("List")}
        items = [of_list | item if isinstance(item, dict) else item for item in items]
    return [found for item in items for found in _flat(item)]


def _check_shape(source: str, item: Any) -> None:
    if not isinstance(item, dict) or not item.get("apiVersion") or not item.get("kind"):
        raise InputError("manifest", source, "holds something without apiVersion and kind")
    for key in ("apiVersion", "kind"):
        if not isinstance(item[key], str):
            problem = f"holds something whose {key} is no text: {item[key]!r}"
            raise InputError("manifest", source, problem, "quote it")
    metadata = item.get("metadata")
    if isinstance(metadata, dict):
        # What renders to nothing (`namespace:`) is absent, as for kubectl.
        metadata = item["metadata"] = {k: v for k, v in metadata.items() if v is not None}
    if not isinstance(metadata, dict) or not (metadata.get("name") or metadata.get("generateName")):
        remedy = "give it metadata.name, or metadata.generateName"
        raise InputError("manifest", source, f"holds a {item['kind']} without a name", remedy)
    for key in ("name", "generateName", "namespace"):
        if not isinstance(metadata.get(key, ""), str):
            problem = f"holds a {item['kind']} whose metadata.{key} is no text: {metadata[key]!r}"
            raise InputError("manifest", source, problem, "quote it")


def _kustomize(path: Path) -> bytes:
    try:
        done = subprocess.run(["kubectl", "kustomize", str(path)], capture_output=True, check=False)
    except FileNotFoundError:
        remedy = "install kubectl, or pipe the rendered YAML into `darkroom submit -f -`"
        raise InputError("manifest", str(path), "needs kubectl to be rendered", remedy) from None
    if done.returncode:
        raise InputError("manifest", str(path), f"does not render: {_last_line(done.stderr)}")
    return done.stdout


def check_rules(objects: Iterable[Object]) -> list[Finding]:
    """Refuse what the operator or the API server would; return our policy's findings as warnings.

    Errors: InputError with every finding that refuses, one a line.
    """
    found = [(item, finding) for item in objects for finding in check_manifest(item)]
    refused = [
        f"{label(item)} {finding}" for item, finding in found if finding.source != "darkroom"
    ]
    if refused:
        problem = "the cluster would refuse it:\n  " + "\n  ".join(refused)
        raise InputError("manifest", None, problem, "nothing was applied")
    return [finding for _, finding in found]


def check_dry_run(cluster: Applier, objects: Sequence[Object]) -> dict[str, str]:
    """Ask the API server about every object.

    A namespace that comes with them is not there yet: what lies in it is checked by its apply.
    Returns label -> what to know of RayJobs that have begun; to apply them takes force.
    Errors: InputError.
    """
    coming = {item["metadata"]["name"] for item in objects if item["kind"] == "Namespace"}
    begun: dict[str, str] = {}
    for item in objects:
        there = _begun(cluster, item)
        try:
            # The operator writes a job that it begins as a whole, and owns its pools by that.
            wanted = cluster.apply(item, dry_run=True, force=there is not None)
        except InputError as error:
            namespace = item["metadata"].get("namespace") or cluster.namespace
            if namespace in coming and f'namespaces "{namespace}" not found' in str(error):
                continue
            raise
        if there is not None:
            begun[label(item)] = check_unchanged(wanted, there)
    return begun


def _begun(cluster: Applier, item: Object) -> Object | None:
    """The RayJob of that name, if it has begun."""
    name = item["metadata"].get("name")
    if item["kind"] != "RayJob" or not name:
        return None
    there = cluster.get(item["apiVersion"], "RayJob", name)
    return there if there is not None and has_begun(there) else None


def in_order(objects: Iterable[Object]) -> list[Object]:
    """Namespaces first, RayJobs and RayServices last: what they need comes with them."""
    return sorted(objects, key=lambda item: (item["kind"] != "Namespace", item["kind"] in FOLLOWED))


def _last_line(data: bytes) -> str:
    lines = data.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "kubectl says nothing"
