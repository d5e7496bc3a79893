"""Writes JSON Schema files for kubeconform from Go modules: Kubernetes' swagger and CRDs.

    PYTHONPATH=hack python hack/charts/schemas.py FOLDER

One file per kind, `<group>/<kind>_<version>.json`, strict: an unknown field is an error wherever
the server would drop it. It needs `go` and its module proxy, or a warm module cache.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from testcluster.binaries import go_command
from testcluster.settings import versions

ROOT = Path(__file__).resolve().parents[2]
Schema = dict[str, Any]


def main() -> int:
    write_schemas(Path(sys.argv[1]))
    return 0


def write_schemas(folder: Path) -> None:
    """Fill `folder`; a stamp with the pinned modules makes the second call free."""
    modules = pinned_modules()
    folder.mkdir(parents=True, exist_ok=True)
    stamp = folder / "modules.json"
    if stamp.exists() and json.loads(stamp.read_text()) == modules:
        return
    for module, place in modules:
        directory = download(module)
        kinds = _openapi_kinds(directory) if place == "openapi" else _crd_kinds(directory / place)
        for group, kind, version, schema in kinds:
            path = folder / group / f"{kind.lower()}_{version}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(schema))
    stamp.write_text(json.dumps(modules))


def pinned_modules() -> list[list[str]]:
    """`[module@version, place]` of every line of crd-modules.txt, versions filled in."""
    lines = (Path(__file__).parent / "crd-modules.txt").read_text().splitlines()
    return [
        line.format(**versions()).split() for line in lines if line and not line.startswith("#")
    ]


class MissingToolError(Exception):
    """A program or module is not there and could not be had; tests that need it skip."""


def download(module: str) -> Path:
    """The module's folder in Go's cache."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [go_command(), "mod", "download", "-json", module]
        done = subprocess.run(
            command,
            cwd=scratch,
            # One may ask for a newer Go, also to be fetched.
            env={**os.environ, "GOTOOLCHAIN": "auto"},
            capture_output=True,
            text=True,
            check=False,
        )
    answer = json.loads(done.stdout or "{}")
    if "Dir" not in answer:
        raise MissingToolError(f"cannot download {module}: {answer.get('Error') or done.stderr}")
    return Path(answer["Dir"])


class _Loader(yaml.CSafeLoader):  # type: ignore[misc] # yaml has no types
    """YAML 1.1 gives a lone `=` a tag of its own; CRDs that document operators have it."""


_Loader.add_constructor("tag:yaml.org,2002:value", lambda _, node: node.value)

Kind = tuple[str, str, str, Schema]


def _crd_kinds(folder: Path) -> Iterator[Kind]:
    for path in sorted(folder.glob("*.yaml")):
        for document in yaml.load_all(path.read_text(), Loader=_Loader):
            if not document or document.get("kind") != "CustomResourceDefinition":
                continue
            spec = document["spec"]
            for version in spec["versions"]:
                schema = strict(version["schema"]["openAPIV3Schema"])
                schema["properties"]["metadata"] = {"type": "object"}
                yield spec["group"], spec["names"]["kind"], version["name"], schema


def _openapi_kinds(directory: Path) -> Iterator[Kind]:
    swagger = json.loads((directory / "api" / "openapi-spec" / "swagger.json").read_text())
    definitions = {name: strict(schema) for name, schema in swagger["definitions"].items()}
    for name, schema in definitions.items():
        for gvk in schema.get("x-kubernetes-group-version-kind", []):
            used = {key: definitions[key] for key in reachable(name, definitions)}
            whole = {"$ref": f"#/definitions/{name}", "definitions": used}
            # kubeconform takes the first part of apiVersion for the group, also of `v1`.
            yield gvk["group"] or "v1", gvk["kind"], gvk["version"], whole
            if gvk["kind"].startswith("MutatingAdmissionPolicy") and gvk["version"] == "v1beta1":
                # In v1 from Kubernetes 1.36 on, with the same fields.
                yield gvk["group"], gvk["kind"], "v1", whole


def reachable(name: str, definitions: dict[str, Schema]) -> set[str]:
    """The definition and all that it refers to, however far."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        current = waiting.pop()
        if current not in found:
            found.add(current)
            waiting.extend(_references(definitions[current]))
    return found


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"].rsplit("/", 1)[-1]
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def strict(node: Any) -> Any:
    """The schema with unknown fields refused and Kubernetes' own notations in JSON Schema's."""
    if isinstance(node, list):
        return [strict(item) for item in node]
    if not isinstance(node, dict):
        return node
    if node.get("x-kubernetes-int-or-string") or node.get("format") == "int-or-string":
        return {"type": ["string", "integer"]}
    refusing = {
        key: {name: strict(child) for name, child in value.items()}
        if key in ("properties", "definitions")
        else strict(value)
        for key, value in node.items()
        if key != "description"
    }
    if "properties" in refusing and not node.get("x-kubernetes-preserve-unknown-fields"):
        refusing.setdefault("additionalProperties", False)
    if refusing.get("nullable"):
        refusing["type"] = [refusing["type"], "null"]
    return refusing


if __name__ == "__main__":
    sys.exit(main())
