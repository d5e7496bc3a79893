"""`darkroom.train` and the others: module, stub and `darkroom.api` have the same functions."""

from __future__ import annotations

import ast
from pathlib import Path

import darkroom
from darkroom import api
from darkroom.cli.verbs import VERBS

STUB = ast.parse(Path(darkroom.__file__).with_suffix(".pyi").read_text())


def test_the_stub_exports_what_the_module_does() -> None:
    (exported,) = [
        ast.literal_eval(node.value)
        for node in STUB.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    (imported,) = [node for node in STUB.body if isinstance(node, ast.ImportFrom)]
    assert imported.module == "darkroom.api"
    assert sorted(exported) == sorted(darkroom.__all__)
    assert sorted(alias.asname or alias.name for alias in imported.names) == sorted(exported)


def test_every_verb_of_the_table_is_a_function() -> None:
    assert set(darkroom.__all__) == {verb.name for verb in VERBS} | {"open"}
    for name in darkroom.__all__:
        assert getattr(darkroom, name) is getattr(api, name)
