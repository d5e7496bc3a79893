"""Which family a model's folder is of: its model_index.json says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from darkroom.errors import ConfigError
from darkroom.models.families.family import Family
from darkroom.models.families.flux import FLUX
from darkroom.models.families.sd3 import SD3
from darkroom.models.families.sdxl import SDXL
from darkroom.models.families.stable_diffusion import STABLE_DIFFUSION
from darkroom.models.find import FoundModel

INDEX_NAME = "model_index.json"
FAMILIES: tuple[Family, ...] = (STABLE_DIFFUSION, SDXL, SD3, FLUX)


def find_family(folder: Path, *, field: str, name: str) -> Family:
    """The family of a diffusers folder. name: as the config has it, for messages.

    Errors: ConfigError naming `field` for a folder of none.
    """
    try:
        data: bytes | None = (folder / INDEX_NAME).read_bytes()
    except OSError:
        data = None
    return _family(data, field=field, name=name)


def family_of(model: FoundModel, *, field: str) -> Family:
    """The family of a model wherever it lies; no more of it is read. Errors: as `find_family`."""
    return _family(model.read(INDEX_NAME), field=field, name=model.name)


def _family(data: bytes | None, *, field: str, name: str) -> Family:
    index = json_object(data)
    if index is None:
        raise ConfigError(
            field, name, "is no diffusers folder: it has no model_index.json",
            "give the folder that save_pretrained wrote for a whole pipeline",
        )  # fmt: skip
    class_name = index.get("_class_name")
    for family in FAMILIES:
        if class_name in family.pipelines:
            return family
    if not isinstance(class_name, str) or not class_name.isidentifier():
        raise ConfigError(
            field, name, f"names no pipeline in its {INDEX_NAME}",
            "give the folder that save_pretrained wrote for a whole pipeline",
        )  # fmt: skip
    known = ", ".join(each for family in FAMILIES for each in family.pipelines)
    raise ConfigError(
        field, name, f"is a {class_name}, which is of no family that is trained here",
        f"give a folder of one of {known}",
    )  # fmt: skip


def json_object(data: bytes | None) -> dict[str, Any] | None:
    """What a JSON file holds; None for no file, or none with an object."""
    try:
        values = json.loads(data or b"")
    except ValueError:
        return None
    return values if isinstance(values, dict) else None
