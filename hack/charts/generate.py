"""Writes what follows from the charts' values.yaml: values.schema.json, README.md, the shared part.

    python hack/charts/generate.py            write
    python hack/charts/generate.py --check    exit 1 and say which file is stale

darkroom-cluster/values.yaml is the source of the part that the charts share; definitions.yaml holds
the schemas that a default cannot say, kubernetes.json (from kubernetes_types.py) Kubernetes' own
types, and docs/schemas/serve.json the settings of `darkroom serve`. README.md is README.in.md with
the table put in.

Every value with a default is required: Helm takes a value away that is set to null, and
`--reuse-values` knows none that is new; a template would then fail, or a policy stand open. What
may be unset has the default null. A pool may leave out anything, and null there is the same.

A section marked `@schema {"pod": true}` also takes the fields of a pod and of its first container
under Kubernetes' names. Which those are is decided here, for the schema and for the templates.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

import yaml

from values_file import Entry, leaves, read_entries

ROOT = Path(__file__).resolve().parents[2]
CHARTS = ROOT / "charts"
SHARED = re.compile(r"^# >>> shared.*?^# <<< shared <<<$", re.DOTALL | re.MULTILINE)
# Charts whose values.yaml gets the shared part.
SHARING = ("darkroom-job", "darkroom-service")
TABLE_MARK = "<!-- values -->"
LARGEST = 2**31 - 1
# Not to be passed through: what the chart sets, what a Ray pod must not have, and what would open
# the pod to its node. `containers` are `sidecars`; `securityContext` is the container's.
NOT_OF_POD = {
    *("automountServiceAccountToken", "containers", "ephemeralContainers", "overhead", "priority"),
    *("resources", "restartPolicy", "securityContext", "serviceAccount", "serviceAccountName"),
    *("hostIPC", "hostNetwork", "hostPID", "workloadRef"),
}
# Values of darkroom-job that a selected cluster does not hear of.
OF_OWN_CLUSTER = (
    *(
        "env",
        "envFrom",
        "extraVolumes",
        "extraVolumeMounts",
        "head",
        "poolDefaults",
        "pools",
        "spot",
    ),
    *("autoscaler", "gcsFaultToleranceOptions", "networkPolicy"),
)
NOT_OF_CONTAINER = {"env", "image", "name", "resources", "restartPolicy", "restartPolicyRules"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail when stale")
    check = parser.parse_args().check
    stale = [path for path, text in generated_files() if _differs(path, text, write=not check)]
    if check and stale:
        names = ", ".join(str(path.relative_to(ROOT)) for path in stale)
        print(f"stale: {names}; run `make charts-docs`", file=sys.stderr)
        return 1
    return 0


def generated_files() -> list[tuple[Path, str]]:
    """Every file that follows from the values, with the text it should have."""
    common = CHARTS / "darkroom-common" / "templates" / "_fields.tpl"
    files = [(common, _fields_template())]
    for chart in SHARING:
        values = CHARTS / chart / "values.yaml"
        text = _with_shared_part(values.read_text())
        _differs(values, text, write="--check" not in sys.argv)
        files.append((values, text))
    defaults = yaml.safe_load((CHARTS / "darkroom-job" / "values.yaml").read_text())
    own = {name: defaults[name] for name in OF_OWN_CLUSTER}
    folder = CHARTS / "darkroom-job" / "files"
    files.append((folder / "cluster-defaults.json", json.dumps(own, indent=1) + "\n"))
    for chart in ("darkroom-cluster", *SHARING):
        entries = read_entries(CHARTS / chart / "values.yaml")
        files.append((CHARTS / chart / "values.schema.json", _schema_text(chart, entries)))
        files.append((CHARTS / chart / "README.md", _readme(chart, entries)))
    return files


def _differs(path: Path, text: str, *, write: bool) -> bool:
    if path.exists() and path.read_text() == text:
        return False
    if write:
        path.write_text(text)
    return True


def _with_shared_part(text: str) -> str:
    source = SHARED.search((CHARTS / "darkroom-cluster" / "values.yaml").read_text())
    if source is None or not SHARED.search(text):
        raise SystemExit("a values.yaml lacks the lines `# >>> shared` and `# <<< shared <<<`")
    return SHARED.sub(lambda _: source.group(), text)


def _schema_text(chart: str, entries: list[Entry]) -> str:
    types = kubernetes_types()
    definitions = yaml.safe_load((Path(__file__).parent / "definitions.yaml").read_text())
    if chart == "darkroom-service":
        definitions |= serving_definitions()
    fields = pod_fields(types) | container_fields(types) | definitions.pop("podGroup")
    pool = next(entry for entry in entries if entry.path == ("poolDefaults",))
    definitions["pool"] = _pool_schema(entry_schema(pool, fields))
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": f"Values of {chart}",
        **_object_schema(entries, fields),
        "$defs": types | definitions,
    }
    of_kubernetes = {k: v for k, v in schema["$defs"].items() if not k.startswith("serve")}
    _limit_whole_numbers([schema["properties"], of_kubernetes])
    # Helm adds the library to the values of every chart that has it, and an umbrella chart's own
    # keys to `global`.
    schema["properties"] |= {"darkroom-common": {"type": "object"}}
    schema["properties"]["global"] |= {"additionalProperties": True, "required": []}
    schema["required"].remove("global")
    return json.dumps(schema, indent=1) + "\n"


def _limit_whole_numbers(schema: Any) -> None:
    """What a field of Kubernetes holds; from 2^53 on Helm would round the number."""
    if isinstance(schema, list):
        for item in schema:
            _limit_whole_numbers(item)
    elif isinstance(schema, dict):
        if "integer" in schema.get("type", ()) and "string" not in schema["type"]:
            schema.setdefault("maximum", LARGEST)
        for item in schema.values():
            _limit_whole_numbers(item)


def kubernetes_types() -> dict[str, Any]:
    """Type name -> JSON Schema."""
    found: dict[str, Any] = json.loads((Path(__file__).parent / "kubernetes.json").read_text())
    return found


def serving_definitions() -> dict[str, Any]:
    """Settings of `darkroom serve` that the service chart passes on. Serve ignores what it does not
    know, so no key may be one that the application lacks."""
    told = json.loads((ROOT / "docs" / "schemas" / "serve.json").read_text())["$defs"]
    workers = told["ServingWorkers"]
    properties = {k: v for k, v in workers["properties"].items() if k != "num_workers"}
    name = {"pattern": "^[A-Za-z0-9][A-Za-z0-9_.:/-]{0,99}$"}
    return {
        "serveLimits": told["RequestLimits"],
        "serveJobs": told["JobsConfig"],
        "serveWorkers": workers | {"properties": properties},
        "serveLoras": {
            "type": "object",
            "propertyNames": name,
            "additionalProperties": told["LoraUse"],
        },
    }


def pod_fields(types: dict[str, Any]) -> dict[str, Any]:
    """Fields of a pod that pass through."""
    return _without(types["PodSpec"]["properties"], NOT_OF_POD)


def container_fields(types: dict[str, Any]) -> dict[str, Any]:
    """Fields of a container that pass through."""
    return _without(types["Container"]["properties"], NOT_OF_CONTAINER)


def _without(fields: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: schema for name, schema in fields.items() if name not in names}


def _fields_template() -> str:
    """The names of the fields, for the one pod template."""
    types = kubernetes_types()
    lists = {"podFields": pod_fields(types), "containerFields": container_fields(types)}
    parts = [
        "{{/* Written by hack/charts/generate.py: Kubernetes' names that values may use. */}}\n"
    ]
    for name, fields in lists.items():
        parts.append(f'{{{{- define "darkroom.{name}" -}}}}\n{" ".join(fields)}\n{{{{- end -}}}}\n')
    return "".join(parts)


def _object_schema(entries: list[Entry], fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [entry.path[-1] for entry in entries if not _may_be_unset(entry)],
        "properties": {entry.path[-1]: entry_schema(entry, fields) for entry in entries},
    }


def _may_be_unset(entry: Entry) -> bool:
    return entry.default is None or "null" in entry.schema.get("type", "")


def _pool_schema(section: dict[str, Any]) -> dict[str, Any]:
    """The section with nothing required, and null for whatever is not said."""
    properties = {name: _or_null(schema) for name, schema in section["properties"].items()}
    return section | {"type": ["object", "null"], "required": [], "properties": properties}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    if "allOf" in schema or "$ref" in schema:
        # Not anyOf, whose message tells of both ways.
        return {"if": {"not": {"type": "null"}}, "then": schema}
    if "enum" in schema:
        return schema | {"enum": [*schema["enum"], None]}
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return schema | {"type": [*dict.fromkeys([*types, "null"])]}


def entry_schema(entry: Entry, fields: dict[str, Any]) -> dict[str, Any]:
    """JSON Schema of one value: its annotation over what its default says."""
    if entry.is_section:
        schema = _object_schema(entry.children, fields)
        if entry.schema.get("pod"):
            schema["properties"] = fields | schema["properties"]
        return schema
    if "$ref" in entry.schema:
        # Draft 7 ignores what stands beside a $ref, so the description goes around it.
        return {"description": entry.description, "allOf": [entry.schema]}
    known = "enum" in entry.schema or "type" in entry.schema
    inferred = {} if known else {"type": _json_type(entry.default)}
    return {"description": entry.description, **inferred, **entry.schema}


def _json_type(default: Any) -> str:
    names = {bool: "boolean", int: "integer", float: "number", str: "string"}
    names |= {list: "array", dict: "object"}
    return names[type(default)]


def _readme(chart: str, entries: list[Entry]) -> str:
    template = (CHARTS / chart / "README.in.md").read_text()
    rows = "\n".join(_row(entry) for entry in leaves(entries))
    table = f"| value | default | |\n|---|---|---|\n{rows}"
    return template.replace(TABLE_MARK, table)


def _row(entry: Entry) -> str:
    default = json.dumps(entry.default, separators=(", ", ": "))
    default = "see values.yaml" if len(default) > 60 else f"`{default}`"
    return f"| `{entry.dotted}` | {default} | {entry.description.replace('|', '&#124;')} |"


if __name__ == "__main__":
    sys.exit(main())
