"""Writes what follows from the charts' values.yaml: values.schema.json, README.md, the shared part.

    python hack/charts/generate.py            write
    python hack/charts/generate.py --check    exit 1 and say which file is stale

darkroom-cluster/values.yaml is the source of the part that both charts share; definitions.yaml
holds the schemas that a default cannot say. README.md is README.in.md with the table put in.
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
TABLE_MARK = "<!-- values -->"


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
    job_values = CHARTS / "darkroom-job" / "values.yaml"
    job_text = _with_shared_part(job_values.read_text())
    _differs(job_values, job_text, write="--check" not in sys.argv)
    files = [(job_values, job_text)]
    for chart in ("darkroom-cluster", "darkroom-job"):
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


def _with_shared_part(job_text: str) -> str:
    source = SHARED.search((CHARTS / "darkroom-cluster" / "values.yaml").read_text())
    if source is None or not SHARED.search(job_text):
        raise SystemExit("a values.yaml lacks the lines `# >>> shared` and `# <<< shared <<<`")
    return SHARED.sub(lambda _: source.group(), job_text)


def _schema_text(chart: str, entries: list[Entry]) -> str:
    definitions = yaml.safe_load((Path(__file__).parent / "definitions.yaml").read_text())
    pool = next(entry for entry in entries if entry.path == ("poolDefaults",))
    definitions["pool"] = entry_schema(pool)
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": f"Values of {chart}",
        **_object_schema(entries),
        "$defs": definitions,
    }
    # Helm adds these two to the values of every chart with a dependency.
    schema["properties"] |= {"global": {"type": "object"}, "darkroom-common": {"type": "object"}}
    return json.dumps(schema, indent=2) + "\n"


def _object_schema(entries: list[Entry]) -> dict[str, Any]:
    properties = {entry.path[-1]: entry_schema(entry) for entry in entries}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def entry_schema(entry: Entry) -> dict[str, Any]:
    """JSON Schema of one value: its annotation over what its default says."""
    if entry.is_section:
        return _object_schema(entry.children)
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
