"""The published form: a folder with a LoRA file, or a whole diffusers folder.

Equal weights give equal bytes: of a LoRA's metadata there is one entry, sorted, where peft and
safetensors would write sets and maps in the order of the process's hash seed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from darkroom.jobs.finetune.adapters import lora_state, lora_targets, trained_components
from darkroom.jobs.finetune.config import FinetuneConfig
from darkroom.models.families.base import BaseModel

LORA_FILE = "pytorch_lora_weights.safetensors"
"""diffusers' own name for it."""
_METADATA = "lora_adapter_metadata"
_PATH_OF_BASE = "_name_or_path"


def export_lora(
    config: FinetuneConfig, base: BaseModel, weights: Mapping[str, Tensor], folder: Path
) -> None:
    """Write the adapters as one file that `load_lora_weights` of plain diffusers reads."""
    from safetensors.torch import save_file

    state: dict[str, Tensor] = {}
    metadata: dict[str, Any] = {}
    for component in trained_components(config, base):
        state |= lora_state(component, weights, scale=config.lora.scale)
        metadata |= {
            f"{component}.r": config.lora.rank,
            f"{component}.lora_alpha": config.lora.rank,
            f"{component}.target_modules": lora_targets(config, base, component),
        }
    save_file(
        dict(sorted(state.items())),
        folder / LORA_FILE,
        metadata={_METADATA: json.dumps(metadata, sort_keys=True)},
    )


def export_full(base: BaseModel, weights: Mapping[str, Tensor], folder: Path) -> None:
    """Write the whole pipeline with the trained weights in it."""
    for component in (base.family.network, *base.text_encoders):
        prefix = f"{component}."
        trained = {
            name.removeprefix(prefix): weight
            for name, weight in weights.items()
            if name.startswith(prefix)
        }
        module = base.pipeline.components[component]
        module.load_state_dict({**module.state_dict(), **trained})
    base.pipeline.save_pretrained(folder, safe_serialization=True)
    for path in folder.rglob("*.json"):
        values = json.loads(path.read_text())
        if isinstance(values, dict) and values.pop(_PATH_OF_BASE, None) is not None:
            path.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")
