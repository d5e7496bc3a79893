"""A manifest that somebody sealed by hand: each field has its type, or the manifest is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from darkroom.errors import IntegrityError
from darkroom.storage import FileEntry, Manifest, Parent
from darkroom.storage.manifest import parse_manifest, sealed_json

MANIFEST = Manifest(
    kind="samples",
    attempt="a" * 32,
    files=(FileEntry("data/x", "attempts/a/data/x", 3, "b" * 64, 2),),
    rows=2,
    metadata={},
    config={},
    config_digest="c" * 64,
    code_digest="d" * 64,
    parents=(Parent("model", "s3://bucket/model", "e" * 64, "model", published=True),),
)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("size", "x"), ("size", -1), ("size", True), ("size", None), ("sha256", 5),
        ("rows", "x"), ("metadata", []),
        ("/kind", 5), ("/kind", "a\x1b[31mred"), ("/kind", "two\nlines"), ("/rows", 1.5),
        ("/metadata", 5), ("/config", None), ("/created_at", 5), ("/files", "x"),
        ("/parents", 5), ("+uri", "s3://bucket/\x9b31m"), ("+digest", 5), ("+published", "yes"),
    ],
)  # fmt: skip
def test_a_value_of_another_type_is_refused_in_one_line(path: str, value: Any) -> None:
    values = json.loads(json.dumps(MANIFEST.to_dict()))
    name = path.lstrip("/+")
    holder = {"/": values, "+": values["parents"][0]}.get(path[0], values["files"][0])
    holder[name] = value
    with pytest.raises(IntegrityError, match="is no manifest of ours") as caught:
        parse_manifest(sealed_json(values), uri="x")
    assert str(caught.value).isprintable()
