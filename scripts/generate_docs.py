"""Write the generated parts of docs/: JSON Schemas, command-line help, tables of settings.

    make docs                                     writes them
    python scripts/generate_docs.py --check       exits 1 and names what is out of date

A page says where a generated part goes by a line `<!-- generated: NAME -->` and ends it by
`<!-- end -->`; everything else on the page is written by hand.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from darkroom.cli import app
from darkroom.cli.storage import storage_app
from darkroom.cli.verbs import VERBS
from darkroom.config import Config
from darkroom.config_source import SCHEMA_VERSION
from darkroom.jobs.serve.config import ServeConfig

DOCS = Path(__file__).resolve().parents[1] / "docs"

Schema = Mapping[str, Any]


def main() -> int:
    """Write what differs, or with --check only name it."""
    check = sys.argv[1:] == ["--check"]
    stale = {
        path: text for path, text in generate() if not path.exists() or path.read_text() != text
    }
    for path, text in stale.items():
        print(f"{'out of date' if check else 'wrote'}: {path.relative_to(DOCS.parent)}")
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    if check and stale:
        print("run: make docs")
    return 1 if check and stale else 0


def generate() -> Iterator[tuple[Path, str]]:
    """Every file with a generated part, as it should be."""
    for verb in VERBS:
        schema = json_schema(verb.name, verb.config_type)
        yield DOCS / "schemas" / f"{verb.name}.json", json.dumps(schema, indent=2) + "\n"
        page = DOCS / "verbs" / f"{verb.name}.md"
        yield page, fill(page.read_text(), help=help_of(verb.name), settings=settings_table(schema))
    schema = json_schema("serve", ServeConfig)
    yield DOCS / "schemas" / "serve.json", json.dumps(schema, indent=2) + "\n"
    page = DOCS / "verbs" / "serve.md"
    yield page, fill(page.read_text(), help=help_of("serve"), settings=settings_table(schema))
    page = DOCS / "verbs" / "storage.md"
    commands = {name: help_of("storage", name) for name in storage_commands()}
    yield page, fill(page.read_text(), **commands)
    for name in ("ray", "submit"):
        page = DOCS / "verbs" / f"{name}.md"
        yield page, fill(page.read_text(), help=help_of(name))


def storage_commands() -> list[str]:
    """Names of the commands of `darkroom storage`, in the order of its help."""
    return [
        command.name or command.callback.__name__
        for command in storage_app.registered_commands
        if command.callback is not None
    ]


def help_of(*command: str) -> str:
    """What `darkroom COMMAND --help` prints, as a code block."""
    result = CliRunner().invoke(app, [*command, "--help"], prog_name="darkroom", color=False)
    if result.exit_code != 0:
        raise RuntimeError(f"{command}: {result.output}")
    return f"```text\n{result.output.rstrip()}\n```"


def json_schema(name: str, config_type: type[Config]) -> dict[str, Any]:
    """JSON Schema of a command's complete config, as `--show-config` prints it."""
    schema = config_type.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = f"darkroom {name}"
    schema["properties"]["version"] = {
        "const": SCHEMA_VERSION,
        "description": "Version of the config's schema.",
    }
    return schema


def fill(page: str, **parts: str) -> str:
    """The page with each generated part replaced; every part must have its place."""
    for name, part in parts.items():
        block = re.compile(rf"(<!-- generated: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        before, *places, after = block.split(page)
        if len(places) != 2:  # the opening and the closing line
            raise RuntimeError(f"a page needs exactly one place for the generated part {name!r}")
        page = f"{before}{places[0]}\n{part}\n\n{places[1]}{after}"
    return page


def settings_table(schema: Schema) -> str:
    """One row per setting: its dotted path, what it may be, its default, what it means."""
    rows = ["| setting | value | default | |", "|---|---|---|---|"]
    for path, field, default, required in _settings(schema, schema):
        note = " ".join(field.get("description", "").split())
        mark = " *" if field.get("operational") else ""
        shown = "required" if required else _code(default)
        rows.append(f"| `{path}` | {_type(schema, field)} | {shown} | {note}{mark} |")
    return "\n".join(rows)


def _settings(
    schema: Schema, node: Schema, prefix: str = "", defaults: Mapping[str, Any] | None = None
) -> Iterator[tuple[str, Schema, Any, bool]]:
    """Path, schema, default and whether it is required, of every leaf below `node`."""
    for name, field in node["properties"].items():
        path, resolved = f"{prefix}{name}", _resolve(schema, field)
        default = (defaults or {}).get(name, field.get("default"))
        if "properties" in resolved:
            yield from _settings(schema, resolved, f"{path}.", default)
        elif "const" not in resolved:  # a constant only names which mapping this is
            yield path, field, default, name in node.get("required", ())
            for option in resolved.get("oneOf") or resolved.get("anyOf") or ():
                if "properties" in (mapping := _resolve(schema, option)):
                    yield from _settings(schema, mapping, f"{path}.")


def _resolve(schema: Schema, node: Schema) -> Schema:
    if "$ref" not in node:
        return node
    definition: Schema = schema["$defs"][node["$ref"].rsplit("/", 1)[-1]]
    return definition


def _code(value: object) -> str:
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _type(schema: Schema, node: Schema) -> str:
    node = _resolve(schema, node)
    kind = node.get("type")
    if options := node.get("anyOf") or node.get("oneOf"):
        return " or ".join(_type(schema, option) for option in options)
    if values := node.get("enum") or ([node["const"]] if "const" in node else None):
        return ", ".join(map(_code, values))
    if kind == "array":
        if "prefixItems" in node:
            return f"[{', '.join(_type(schema, item) for item in node['prefixItems'])}]"
        return f"list of {_type(schema, node['items'])}"
    if kind == "object":
        tag = node.get("properties", {}).get("kind", {}).get("const")
        return f"mapping of kind `{tag}`" if tag else "mapping"
    names = {"string": "text", "null": "`null`", "boolean": "`true`, `false`"}
    return f"{names.get(str(kind), kind)}{_bounds(node)}"


def _bounds(node: Schema) -> str:
    if "minimum" in node and "maximum" in node:
        return f" {node['minimum']} to {node['maximum']}"
    words = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {node[key]}" for key, sign in words.items() if key in node]
    return f" {', '.join(bounds)}" if bounds else ""


if __name__ == "__main__":
    sys.exit(main())
