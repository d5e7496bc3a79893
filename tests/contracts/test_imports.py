"""No import goes round in a circle: not among modules, not among packages, not within functions.

import-linter sees the layers; it does not see two modules of one layer that import each other, nor
an import that a function hides from Python.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

SRC = Path(__file__).parents[2] / "src"

Graph = Mapping[str, set[str]]


def modules() -> dict[str, Path]:
    """Every module by its dotted name."""
    found = {}
    for path in sorted(SRC.rglob("*.py")):
        parts = path.relative_to(SRC).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(module: str, path: Path, known: Mapping[str, Path]) -> set[str]:
    """Our modules that `module` imports, wherever in its code."""
    names: list[str] = []
    tree = ast.parse(path.read_text())
    for block in [node for node in ast.walk(tree) if isinstance(node, ast.If)]:
        if ast.unparse(block.test) == "TYPE_CHECKING":
            block.body = []  # never run
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            names += [name if name in known else node.module for name in whole]
    return {name for name in names if name in known} - {module}


def of_children(package: str, graph: Graph, known: Mapping[str, Path]) -> Graph:
    """Who imports whom among a package's children: a subpackage counts as one."""
    depth = package.count(".") + 2

    def child(module: str) -> str | None:
        if module == package or not module.startswith(f"{package}."):
            return None
        return ".".join(module.split(".")[:depth])

    children: dict[str, set[str]] = {}
    for module in known:
        mine = child(module)
        if mine is not None:
            others = {child(other) for other in graph[module]} - {mine, None}
            children.setdefault(mine, set()).update(other for other in others if other)
    return children


def circle(graph: Graph) -> list[str]:
    """One circle, if there is any."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


def test_no_import_goes_in_a_circle() -> None:
    known = modules()
    graph = {name: imports(name, path, known) for name, path in known.items()}
    packages = [name for name, path in known.items() if path.name == "__init__.py"]
    assert not circle(graph)
    for package in packages:
        assert not circle(of_children(package, graph, known)), package
