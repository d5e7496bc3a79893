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

FAMILIES: tuple[Family, ...] = (STABLE_DIFFUSION, SDXL, SD3, FLUX)


def find_family(folder: Path, *, field: str, name: str) -> Family:
    """The family of a diffusers folder. name: as the config has it, for messages.

    Errors: ConfigError naming `field` for a folder of none.
    """
    index = _model_index(folder)
    if index is None:
        raise ConfigError(
            field, name, "is no diffusers folder: it has no model_index.json",
            "give the folder that save_pretrained wrote for a whole pipeline",
        )  # fmt: skip
    class_name = index.get("_class_name")
    for family in FAMILIES:
        if class_name in family.pipelines:
            return family
    known = ", ".join(each for family in FAMILIES for each in family.pipelines)
    raise ConfigError(
        field, name, f"is a {class_name}, which is of no family that is trained here",
        f"give a folder of one of {known}",
    )  # fmt: skip


def _model_index(folder: Path) -> dict[str, Any] | None:
    try:
        values = json.loads((folder / "model_index.json").read_bytes())
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) else None
