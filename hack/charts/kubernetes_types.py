"""Writes kubernetes.json: Kubernetes' own types that the charts' values take under its field names.

    PYTHONPATH=hack python hack/charts/kubernetes_types.py

It reads the swagger of the pinned Kubernetes and needs `go`. The file is committed, so that
generate.py, which copies it into values.schema.json, needs nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from schemas import download, pinned_modules, reachable, strict

TARGET = Path(__file__).parent / "kubernetes.json"
ROOTS = (
    "io.k8s.api.core.v1.PodSpec",
    "io.k8s.api.core.v1.Container",
    "io.k8s.api.networking.v1.NetworkPolicyIngressRule",
    "io.k8s.api.networking.v1.NetworkPolicyEgressRule",
)
QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"


def types_text() -> str:
    """What kubernetes.json must hold: type name to JSON Schema, unknown fields refused."""
    module = next(name for name, place in pinned_modules() if place == "openapi")
    swagger = json.loads((download(module) / "api/openapi-spec/swagger.json").read_text())
    definitions: dict[str, Any] = {
        name: strict(schema) for name, schema in swagger["definitions"].items()
    }
    # The server takes `cpu: 2` as well as `cpu: "2"`.
    definitions[QUANTITY] = {"type": ["string", "number"]}
    names = sorted(set().union(*(reachable(root, definitions) for root in ROOTS)))
    types = {_short(name): _plain(definitions[name]) for name in names}
    return json.dumps(types, indent=1, sort_keys=True) + "\n"


def _short(name: str) -> str:
    return name.rsplit(".", 1)[-1]


def _plain(node: Any) -> Any:
    """Without Kubernetes' notations, and with references into `$defs`."""
    if isinstance(node, list):
        return [_plain(item) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return {"$ref": f"#/$defs/{_short(node['$ref'])}"}
    return {
        key: {name: _plain(child) for name, child in value.items()}
        if key == "properties"
        else _plain(value)
        for key, value in node.items()
        if key not in ("format", "default") and not key.startswith("x-kubernetes-")
    }


if __name__ == "__main__":
    TARGET.write_text(types_text())
