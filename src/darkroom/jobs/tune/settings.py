"""Plain nested settings and the dotted names of what stands in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def replaced(values: Mapping[str, Any], name: str, value: Any) -> dict[str, Any]:
    """`values` with this at the dotted name; mappings on the way are made."""
    first, dot, rest = name.partition(".")
    if dot:
        below = values.get(first)
        value = replaced(below if isinstance(below, Mapping) else {}, rest, value)
    return {**values, first: value}


def at(values: Mapping[str, Any], name: str) -> Any:
    """What stands at the dotted name; None where a part of it is not there."""
    found: Any = values
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def agreed(given: Mapping[str, Any], built: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of `given` with the values that a config was built with."""
    return {
        name: agreed(value, built[name])
        if isinstance(value, Mapping) and isinstance(built.get(name), Mapping)
        else built.get(name, value)
        for name, value in given.items()
    }


def kept(given: Mapping[str, Any], among: Mapping[str, Any]) -> dict[str, Any]:
    """The part of `given` whose keys stand in `among` too."""
    return {
        name: kept(value, among[name])
        if isinstance(value, Mapping) and isinstance(among[name], Mapping)
        else value
        for name, value in given.items()
        if name in among
    }


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted name and value of everything that is no mapping."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
