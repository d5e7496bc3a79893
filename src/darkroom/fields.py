"""What the fields of a config take, read off its JSON Schema.

The schema knows every union, alias and constraint that pydantic does, so nothing here has to.
Pydantic validates the values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from pydantic import BaseModel

Node = dict[str, Any]

_JSON_TYPES = {bool: "boolean", int: "integer", float: "number", type(None): "null"}


def types_at(config_type: type[BaseModel], path: Sequence[str]) -> frozenset[str]:
    """JSON types that may stand at `path`, whose parts are keys, also of mappings, and indices.

    One of several given words is a "choice". Empty where there is no such field.
    """
    schema = _schema(config_type)
    definitions = schema.get("$defs", {})
    nodes = [schema]
    for part in path:
        children = [child for node in nodes for child in _children(node, part)]
        nodes = [found for child in children for found in _resolve(child, definitions)]
    return frozenset(
        "choice" if {"enum", "const"} & node.keys() else node.get("type", "any") for node in nodes
    )


def meant_as_text(types: frozenset[str], value: object) -> bool:
    """Whether what YAML reads as `value` is a text there: `002` as a name, `null` as a title's."""
    natural = _JSON_TYPES.get(type(value))
    if natural is None or "string" not in types:
        return False
    return natural not in types and not (natural == "integer" and "number" in types)


def follow(
    config_type: type[BaseModel], parts: Sequence[str], *, is_unknown: bool
) -> tuple[list[str], list[str]]:
    """An error's path as the user writes it, and the known keys beside its last part.

    Read off the JSON Schema: the tags of unions stand in an error's path, but are no keys.
    `is_unknown`: the last part is a key that should not be there.
    """
    schema = _schema(config_type)
    definitions = schema.get("$defs", {})
    nodes, beside, path = [schema], [schema], list[str]()
    for depth, part in enumerate(parts, start=1):
        known = {key for node in nodes for key in _keys(node)}
        if known and part not in known and not (is_unknown and depth == len(parts)):
            continue
        path.append(part)
        beside = nodes
        children = [node["properties"][part] for node in nodes if part in _keys(node)]
        nodes = [found for child in children for found in _resolve(child, definitions)]
    return path, sorted({key for node in beside for key in _keys(node)})


@cache
def _schema(config_type: type[BaseModel]) -> Node:
    return config_type.model_json_schema()


def _children(node: Node, part: str) -> Iterator[Node]:
    """Schemas of what stands at a key or an index of `node`."""
    if part in _keys(node):
        yield node["properties"][part]
        return
    yield from node.get("patternProperties", {}).values()
    yield from node.get("prefixItems", ())
    for items in (node.get("additionalProperties"), node.get("items")):
        if isinstance(items, dict):
            yield items


def _keys(node: Node) -> Sequence[str]:
    return tuple(node.get("properties", ()))


def _resolve(node: Node, definitions: Node) -> list[Node]:
    if "$ref" in node:
        return _resolve(definitions[node["$ref"].rsplit("/", 1)[-1]], definitions)
    options = node.get("anyOf") or node.get("oneOf") or node.get("allOf")
    if options:
        return [found for option in options for found in _resolve(option, definitions)]
    return [node]
