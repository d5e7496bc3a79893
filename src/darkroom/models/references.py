"""Names inside a model's folder that its loader will join to that folder: they must stay in it.

`*.index.json` of a sharded model says which file holds each tensor, `model_index.json` of a
diffusers pipeline which subfolder and which library each component has. The loaders of
transformers and diffusers follow them as they stand.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from darkroom.errors import DataError
from darkroom.storage.names import check_name


def check_references(folder: Path) -> None:
    """Errors: DataError for an index in `folder` that names something outside it."""
    for path in sorted(folder.rglob("*.json")):
        if path.name != "model_index.json" and not path.name.endswith(".index.json"):
            continue
        try:
            values = json.loads(path.read_bytes())
        except (OSError, ValueError):
            continue  # the loader reads it next, and says what is wrong with it
        if isinstance(values, dict):
            for name in _names(path.name, values):
                if "/" in check_name(name, where=str(path)):
                    raise DataError(
                        str(path), name, "names something beside its own folder", "get it again"
                    )


def _names(file_name: str, values: dict[str, Any]) -> Iterator[object]:
    if file_name == "model_index.json":
        for name, component in values.items():
            if isinstance(component, list):
                yield name
                yield from (item for item in component[:1] if item is not None)
    elif isinstance(values.get("weight_map"), dict):
        yield from values["weight_map"].values()
